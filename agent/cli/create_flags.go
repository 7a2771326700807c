package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/distribution/reference"
	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// createOptions are the flags of create as typed.
type createOptions struct {
	specFlags
	name, mode string
}

func (o *createOptions) addFlags(cmd *cobra.Command) {
	o.addCommon(cmd)
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "`name` of the service (default: the image's and a random suffix)")
	f.StringVar(&o.mode, "mode", string(cluster.Replicated), "`mode`, replicated for a number of tasks or global for one on every node, replicated-job or global-job if they end")
	completeFlag(cmd, "mode", string(cluster.Replicated), string(cluster.Global), string(cluster.ReplicatedJob), string(cluster.GlobalJob))
	o.addLists()

	update := cluster.UpdateConfig{}.WithDefaults()
	for _, kind := range []string{"update", "rollback"} {
		showDefault(cmd, kind+"-parallelism", update.Parallelism)
		showDefault(cmd, kind+"-monitor", update.Monitor)
		showDefault(cmd, kind+"-failure-action", update.FailureAction)
	}
	showDefault(cmd, "replicas", 1)
	showDefault(cmd, "strategy", cluster.Spread)
	showDefault(cmd, "on-partition", cluster.RunOnPartition)
	showDefault(cmd, "stop-grace-period", cluster.DefaultStopGracePeriod)
}

// addLists adds the flags that may be given several times.
func (o *createOptions) addLists() {
	f := o.flags
	publish := f.StringArrayP("publish", "p", nil, "publish a port on every node, `PUBLISHED:TARGET`, also with /udp")
	listed(&o.specFlags, "publish", publish, cluster.ParsePort, func(s *cluster.Spec, ports [][]cluster.Port) error {
		for _, some := range ports {
			s.Ports = append(s.Ports, some...)
		}
		return nil
	})
	env := f.StringArrayP("env", "e", nil, "set an environment variable, `NAME=VALUE`, or NAME to take it from here")
	envFiles := f.StringArray("env-file", nil, "read environment variables from a `file`, one NAME=VALUE a line")
	o.on(func() (change, error) {
		vars, err := environment(*envFiles, *env, os.LookupEnv)
		return func(s *cluster.Spec) error {
			s.Container.Env = vars
			return nil
		}, err
	}, "env", "env-file")
	for _, l := range []struct {
		flag, short, usage string
		at                 func(*cluster.Spec) *map[string]string
	}{
		{"label", "l", "label of the service, `KEY[=VALUE]`", func(s *cluster.Spec) *map[string]string { return &s.Labels }},
		{"container-label", "", "label of its containers, `KEY[=VALUE]`", func(s *cluster.Spec) *map[string]string { return &s.Container.Labels }},
	} {
		args := f.StringArrayP(l.flag, l.short, nil, l.usage)
		o.on(func() (change, error) {
			all, err := labels("--"+l.flag, *args)
			return func(s *cluster.Spec) error {
				*l.at(s) = all
				return nil
			}, err
		}, l.flag)
	}
	listFlag(o, "constraint", "run only where `node.labels.KEY==VALUE` holds, or !=", cluster.ParseConstraint,
		func(s *cluster.Spec) *[]cluster.Constraint { return &s.Placement.Constraints })
	listFlag(o, "placement-pref", "spread tasks evenly over a label's values, `spread=node.labels.KEY`", cluster.ParseSpread,
		func(s *cluster.Spec) *[]string { return &s.Placement.Spread })
	listFlag(o, "mount", "`mount` type=bind|volume|tmpfs,source=…,target=…[,readonly]", cluster.ParseMount,
		func(s *cluster.Spec) *[]cluster.Mount { return &s.Container.Mounts })
	secrets().addTo(o)
	configs().addTo(o)
	listFlag(o, "device", "give a device of the node, `HOST[:CONTAINER[:rwm]]`", cluster.ParseDevice,
		func(s *cluster.Spec) *[]cluster.Device { return &s.Container.Devices })
	listFlag(o, "cap-add", "add a Linux `capability`", cluster.NormalizeCapability,
		func(s *cluster.Spec) *[]string { return &s.Container.CapAdd })
	listFlag(o, "cap-drop", "drop a Linux `capability`, or ALL", cluster.NormalizeCapability,
		func(s *cluster.Spec) *[]string { return &s.Container.CapDrop })
}

// listFlag adds a flag whose values become a list of the spec.
func listFlag[T any](o *createOptions, flag, usage string, parse func(string) (T, error), at func(*cluster.Spec) *[]T) {
	listed(&o.specFlags, flag, o.flags.StringArray(flag, nil, usage), parse, func(s *cluster.Spec, all []T) error {
		*at(s) = all
		return nil
	})
}

// spec reads the options.
func (o *createOptions) spec(image string, args []string) (cluster.Spec, error) {
	named, err := normalise(image)
	if err != nil {
		return cluster.Spec{}, err
	}
	spec := cluster.Spec{Name: o.name, Mode: cluster.Mode(o.mode), Replicas: 1}
	if spec.Name == "" {
		spec.Name = randomName(named)
	}
	if spec.Mode.PerNode() {
		if o.flags.Changed("replicas") {
			return spec, fmt.Errorf("--replicas is for mode replicated and replicated-job: a %s service has one task on every node", spec.Mode)
		}
		spec.Replicas = 0
	}
	spec.Container.Image, spec.Container.Args = named.String(), args
	// Before the flags: a zero among them is meant.
	spec.Update, spec.Rollback = spec.Update.WithDefaults(), spec.Rollback.WithDefaults()
	change, err := o.read()
	if err != nil {
		return spec, err
	}
	if err := change(&spec); err != nil {
		return spec, err
	}
	spec = spec.WithDefaults()
	return spec, spec.Validate()
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
