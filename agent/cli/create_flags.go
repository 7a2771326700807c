package cli

import (
	"fmt"
	"math"
	"math/big"
	"os"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// createOptions are the flags and arguments of create as typed.
type createOptions struct {
	image string
	args  []string
	given func(flag string) bool

	name, mode, strategy, onPartition, entrypoint, user, workdir, hostname, stopSignal string
	limitCPU, limitMemory, reserveCPU, reserveMemory                                   string
	replicas, maxPerNode                                                               int
	publish, env, envFiles, labels, containerLabels, constraints, spread               []string
	mounts, devices, capAdd, capDrop                                                   []string
	privileged, readOnly                                                               bool
	stopGracePeriod                                                                    time.Duration
}

func (o *createOptions) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "`name` of the service (default: the image's and a random suffix)")
	f.StringVar(&o.mode, "mode", string(cluster.Replicated), "`mode`, replicated for a number of tasks or global for one on every node")
	f.IntVar(&o.replicas, "replicas", 1, "`number` of tasks")
	f.StringArrayVarP(&o.publish, "publish", "p", nil, "publish a port on every node, `PUBLISHED:TARGET`, also with /udp")
	f.StringArrayVarP(&o.env, "env", "e", nil, "set an environment variable, `NAME=VALUE`, or NAME to take it from here")
	f.StringArrayVar(&o.envFiles, "env-file", nil, "read environment variables from a `file`, one NAME=VALUE a line")
	f.StringArrayVarP(&o.labels, "label", "l", nil, "label of the service, `KEY[=VALUE]`")
	f.StringArrayVar(&o.containerLabels, "container-label", nil, "label of its containers, `KEY[=VALUE]`")
	f.StringArrayVar(&o.constraints, "constraint", nil, "run only where `node.labels.KEY==VALUE` holds, or !=")
	f.StringArrayVar(&o.spread, "placement-pref", nil, "spread tasks evenly over a label's values, `spread=node.labels.KEY`")
	f.IntVar(&o.maxPerNode, "replicas-max-per-node", 0, "largest `number` of tasks on one node (0: no limit)")
	f.StringVar(&o.strategy, "strategy", string(cluster.Spread), "`strategy`, spread to fill nodes evenly or binpack to fill one after another")
	f.StringVar(&o.onPartition, "on-partition", string(cluster.RunOnPartition), "what nodes cut off from most others do, `run` it all by themselves or stop it")
	f.StringVar(&o.limitCPU, "limit-cpu", "", "most `cores` that a task may use, for example 0.5")
	f.StringVar(&o.limitMemory, "limit-memory", "", "most `memory` that a task may use, for example 64m")
	f.StringVar(&o.reserveCPU, "reserve-cpu", "", "`cores` kept free for a task")
	f.StringVar(&o.reserveMemory, "reserve-memory", "", "`memory` kept free for a task")
	f.StringArrayVar(&o.mounts, "mount", nil, "`mount` type=bind|volume|tmpfs,source=…,target=…[,readonly]")
	f.StringArrayVar(&o.devices, "device", nil, "give a device of the node, `HOST[:CONTAINER[:rwm]]`")
	f.StringArrayVar(&o.capAdd, "cap-add", nil, "add a Linux `capability`")
	f.StringArrayVar(&o.capDrop, "cap-drop", nil, "drop a Linux `capability`, or ALL")
	f.BoolVar(&o.privileged, "privileged", false, "give every capability and device")
	f.BoolVar(&o.readOnly, "read-only", false, "mount the container's root file system read-only")
	f.StringVarP(&o.user, "user", "u", "", "`user` to run as, name or number, optionally with :group")
	f.StringVarP(&o.workdir, "workdir", "w", "", "working `directory` in the container")
	f.StringVar(&o.hostname, "hostname", "", "host `name` of the containers")
	f.StringVar(&o.entrypoint, "entrypoint", "", "`command` in place of the image's entrypoint")
	f.StringVar(&o.stopSignal, "stop-signal", "", "`signal` that ends a task (default: the image's, else SIGTERM)")
	f.DurationVar(&o.stopGracePeriod, "stop-grace-period", cluster.DefaultStopGracePeriod, "`time` a task has to end before it is killed")

	completeFlag(cmd, "mode", string(cluster.Replicated), string(cluster.Global))
	completeFlag(cmd, "on-partition", string(cluster.RunOnPartition), string(cluster.StopOnPartition))
	completeFlag(cmd, "strategy", string(cluster.Spread), string(cluster.Binpack))
}

// spec reads the options. It asks nobody, so that a mistake is found before anything happens.
func (o *createOptions) spec() (cluster.Spec, error) {
	image, err := normalise(o.image)
	if err != nil {
		return cluster.Spec{}, err
	}
	if o.stopGracePeriod == 0 {
		return cluster.Spec{}, fmt.Errorf("--stop-grace-period 0s: give a task some time, for example 1s; --stop-signal KILL ends it at once")
	}
	spec := cluster.Spec{Name: o.name, Mode: cluster.Mode(o.mode), Replicas: o.replicas, OnPartition: cluster.OnPartition(o.onPartition)}
	if spec.Name == "" {
		spec.Name = randomName(image)
	}
	if spec.Mode == cluster.Global {
		if o.given("replicas") {
			return spec, fmt.Errorf("--replicas is for mode replicated: a global service has one task on every node")
		}
		spec.Replicas = 0
	}
	if spec.Labels, err = labels("--label", o.labels); err != nil {
		return spec, err
	}
	if spec.Container, err = o.container(); err != nil {
		return spec, err
	}
	spec.Container.Image = image.String()
	if spec.Resources, err = o.resources(); err != nil {
		return spec, err
	}
	if spec.Placement, err = o.placement(); err != nil {
		return spec, err
	}
	for _, arg := range o.publish {
		ports, err := cluster.ParsePort(arg)
		if err != nil {
			return spec, err
		}
		spec.Ports = append(spec.Ports, ports...)
	}
	spec = spec.WithDefaults()
	return spec, spec.Validate()
}

func (o *createOptions) container() (cluster.Container, error) {
	c := cluster.Container{
		Args:            o.args,
		User:            o.user,
		Workdir:         o.workdir,
		Hostname:        o.hostname,
		Privileged:      o.privileged,
		ReadOnly:        o.readOnly,
		StopGracePeriod: o.stopGracePeriod,
	}
	var err error
	if c.Entrypoint, err = splitWords(o.entrypoint); err != nil {
		return c, fmt.Errorf("--entrypoint: %w", err)
	}
	if c.Env, err = environment(o.envFiles, o.env, os.LookupEnv); err != nil {
		return c, err
	}
	if c.Labels, err = labels("--container-label", o.containerLabels); err != nil {
		return c, err
	}
	if c.Mounts, err = each(o.mounts, cluster.ParseMount); err != nil {
		return c, err
	}
	if c.Devices, err = each(o.devices, cluster.ParseDevice); err != nil {
		return c, err
	}
	if c.CapAdd, err = each(o.capAdd, cluster.NormalizeCapability); err != nil {
		return c, err
	}
	if c.CapDrop, err = each(o.capDrop, cluster.NormalizeCapability); err != nil {
		return c, err
	}
	if o.stopSignal != "" {
		c.StopSignal, err = cluster.NormalizeSignal(o.stopSignal)
	}
	return c, err
}

func (o *createOptions) placement() (cluster.Placement, error) {
	p := cluster.Placement{MaxPerNode: o.maxPerNode, Strategy: cluster.Strategy(o.strategy)}
	var err error
	if p.Constraints, err = each(o.constraints, cluster.ParseConstraint); err != nil {
		return p, err
	}
	p.Spread, err = each(o.spread, cluster.ParseSpread)
	return p, err
}

func (o *createOptions) resources() (r cluster.Resources, err error) {
	for _, v := range []struct {
		flag, value string
		parse       func(string) (int64, error)
		into        *int64
	}{
		{"--limit-cpu", o.limitCPU, parseCPUs, &r.Limits.NanoCPUs},
		{"--limit-memory", o.limitMemory, parseMemory, &r.Limits.MemoryBytes},
		{"--reserve-cpu", o.reserveCPU, parseCPUs, &r.Reservations.NanoCPUs},
		{"--reserve-memory", o.reserveMemory, parseMemory, &r.Reservations.MemoryBytes},
	} {
		if v.value == "" {
			continue
		}
		if *v.into, err = v.parse(v.value); err != nil {
			return r, fmt.Errorf("%s %q: %w", v.flag, v.value, err)
		}
	}
	return r, nil
}

func parseMemory(s string) (int64, error) {
	n, err := units.RAMInBytes(s)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("want an amount such as 64m or 1g")
	}
	return n, nil
}

// parseCPUs reads a number of cores. A fraction of it that is no whole billionth is refused rather than rounded.
func parseCPUs(s string) (int64, error) {
	cores, ok := new(big.Rat).SetString(s)
	if !ok || cores.Sign() <= 0 || strings.ContainsAny(s, "/_") {
		return 0, fmt.Errorf("want a number of cores such as 0.5 or 2")
	}
	nano := cores.Mul(cores, big.NewRat(1e9, 1))
	if !nano.IsInt() || !nano.Num().IsInt64() || nano.Num().Int64() > math.MaxInt64/2 {
		return 0, fmt.Errorf("want a number of cores such as 0.5 or 2, with at most nine decimals")
	}
	return nano.Num().Int64(), nil
}

// normalise reads an image's name as docker does: nginx is docker.io/library/nginx:latest.
func normalise(image string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil, fmt.Errorf("image %q: want a name such as nginx:1.27 or registry.local:5000/greeter: %w", image, err)
	}
	return reference.TagNameOnly(named), nil
}

// labels reads KEY=VALUE and KEY.
func labels(flag string, args []string) (map[string]string, error) {
	if len(args) == 0 {
		return nil, nil
	}
	all := make(map[string]string, len(args))
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		if err := cluster.ValidateLabelKey(key); err != nil {
			return nil, fmt.Errorf("%s %q: %w", flag, arg, err)
		}
		all[key] = value
	}
	return all, nil
}

// each applies parse to all arguments and stops at the first bad one.
func each[T any](args []string, parse func(string) (T, error)) ([]T, error) {
	var all []T
	for _, arg := range args {
		v, err := parse(arg)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}
