package dockerapi

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// world is what a spec may name.
type world struct {
	networks map[string]string // name by ID and by name
	// fileID is the ID of the secret or config of that name, whichever kind says.
	fileID func(kind, name string) (string, bool)
	// port gives a port to publish to who asks for any.
	port func(cluster.Protocol) (uint16, error)
}

// reading is a spec on its way from docker's words to ours.
type reading struct {
	world
	base     cluster.Spec // that the service has now, empty for a new one
	warnings []string
}

func (in *reading) warn(format string, args ...any) {
	in.warnings = append(in.warnings, fmt.Sprintf(format, args...))
}

// errNoEffect refuses an option, saying what to do instead.
func errNoEffect(option, instead string) error { return fmt.Errorf("%s: %s", option, instead) }

// specIn makes ours of docker's spec of a service. What docker has no words for stays as it is in the base: whoever changes
// a service with docker's client must not lose what was set with piswarm's.
func (in *reading) specIn(d swarm.ServiceSpec) (cluster.Spec, error) {
	t := d.TaskTemplate
	switch {
	case t.PluginSpec != nil || t.Runtime == swarm.RuntimePlugin:
		return cluster.Spec{}, errNoEffect("plugins", "piswarm has none: run the program in a container")
	case t.NetworkAttachmentSpec != nil || t.Runtime == swarm.RuntimeNetworkAttachment:
		return cluster.Spec{}, errNoEffect("network attachments", "containers that are not tasks of a service have none")
	case t.Runtime != "" && t.Runtime != swarm.RuntimeContainer:
		return cluster.Spec{}, fmt.Errorf("unknown runtime %q", t.Runtime)
	case t.ContainerSpec == nil:
		return cluster.Spec{}, errors.New("ContainerSpec: missing: what is the service to run?")
	}
	out := cluster.Spec{Name: d.Name, Labels: d.Labels, Force: t.ForceUpdate, OnPartition: in.base.OnPartition}
	var err error
	for _, part := range []func() error{
		func() error { return in.modeIn(d.Mode, &out) },
		func() error { out.Container, err = in.containerIn(t.ContainerSpec); return err },
		func() error { out.Resources, err = resourcesIn(t.Resources); return err },
		func() error { out.Placement, err = in.placementIn(t.Placement); return err },
		func() error { out.Ports, err = in.portsIn(d.EndpointSpec); return err },
		func() error { out.Networks, err = in.networksIn(t.Networks); return err },
		func() error { return in.logDriverIn(t.LogDriver) },
		func() error { out.Restart, err = in.restartIn(t.RestartPolicy); return err },
		func() error { out.Update, err = updateIn("UpdateConfig", d.UpdateConfig, in.base.Update); return err },
		func() error {
			out.Rollback, err = updateIn("RollbackConfig", d.RollbackConfig, in.base.Rollback)
			return err
		},
	} {
		if err := part(); err != nil {
			return cluster.Spec{}, err
		}
	}
	return out, nil
}

// count is a number of docker's that piswarm can have, too.
func count(what string, n uint64) (int, error) {
	if n > math.MaxInt32 {
		return 0, fmt.Errorf("%s %d is not possible", what, n)
	}
	return int(n), nil
}

func (in *reading) modeIn(m swarm.ServiceMode, out *cluster.Spec) (err error) {
	given := 0
	if m.Replicated != nil {
		given++
		out.Mode, out.Replicas = cluster.Replicated, 1
		if n := m.Replicated.Replicas; n != nil {
			out.Replicas, err = count("a number of replicas of", *n)
		}
	}
	if m.Global != nil {
		given++
		out.Mode = cluster.Global
	}
	if m.GlobalJob != nil {
		given++
		out.Mode = cluster.GlobalJob
	}
	if j := m.ReplicatedJob; j != nil {
		given++
		out.Mode, out.MaxConcurrent = cluster.ReplicatedJob, 1
		if j.MaxConcurrent != nil {
			out.MaxConcurrent, err = count("MaxConcurrent", *j.MaxConcurrent)
		}
		out.Replicas = max(1, out.MaxConcurrent)
		if j.TotalCompletions != nil && err == nil {
			out.Replicas, err = count("TotalCompletions", *j.TotalCompletions)
		}
	}
	switch given {
	case 0:
		out.Mode, out.Replicas = cluster.Replicated, 1
	case 1:
	default:
		return errors.New("a service has one mode: Replicated, Global, ReplicatedJob or GlobalJob")
	}
	return err
}

func resourcesIn(r *swarm.ResourceRequirements) (cluster.Resources, error) {
	var out cluster.Resources
	if r == nil {
		return out, nil
	}
	if r.SwapBytes != nil || r.MemorySwappiness != nil {
		return out, errNoEffect("SwapBytes and MemorySwappiness", "how a container swaps is the node's own matter here")
	}
	if l := r.Limits; l != nil {
		out.Limits, out.Pids = cluster.Amount{MemoryBytes: l.MemoryBytes, NanoCPUs: l.NanoCPUs}, l.Pids
	}
	if r := r.Reservations; r != nil {
		if len(r.GenericResources) > 0 {
			return out, errNoEffect("generic resources", "piswarm counts memory and processors; for the rest, label the nodes and use a constraint")
		}
		out.Reservations = cluster.Amount{MemoryBytes: r.MemoryBytes, NanoCPUs: r.NanoCPUs}
	}
	return out, nil
}

func (in *reading) placementIn(p *swarm.Placement) (cluster.Placement, error) {
	out := cluster.Placement{Strategy: in.base.Placement.Strategy}
	if p == nil {
		return out, nil
	}
	for _, text := range p.Constraints {
		c, keep, err := constraintIn(text)
		if err != nil {
			return out, err
		}
		if keep {
			out.Constraints = append(out.Constraints, c)
		}
	}
	for _, preference := range p.Preferences {
		if preference.Spread == nil {
			return out, errors.New("placement preference: only spread is known")
		}
		out.Spread = append(out.Spread, preference.Spread.SpreadDescriptor)
	}
	var err error
	out.MaxPerNode, err = count("a maximum per node of", p.MaxReplicas)
	return out, err // p.Platforms are those of the image, which is looked up
}

// constraintIn reads a constraint. One on the operating system, which all nodes have in common, is not kept.
func constraintIn(text string) (c cluster.Constraint, keep bool, err error) {
	attribute, rest := text, ""
	if i := strings.IndexAny(text, "=!"); i >= 0 {
		attribute, rest = strings.TrimSpace(text[:i]), text[i:]
	}
	platform := attribute == "node.platform.arch"
	switch attribute {
	case "node.platform.os":
		value := strings.TrimSpace(strings.TrimPrefix(rest, "=="))
		if !strings.EqualFold(value, "linux") {
			return c, false, fmt.Errorf("constraint %s: all nodes run linux", text)
		}
		return c, false, nil
	case "node.platform.arch":
		attribute = "node.arch"
	}
	if strings.HasPrefix(attribute, "engine.labels.") {
		return c, false, fmt.Errorf("constraint %s: an engine has no labels; nodes have, node.labels.KEY", text)
	}
	if c, err = cluster.ParseConstraint(attribute + rest); err != nil {
		return c, false, err
	}
	switch {
	case c.Attribute == "node.id":
		c.Value = ownID(c.Value)
	case platform:
		c.Value = processor(c.Value)
	}
	return c, true, nil
}

// processor is piswarm's word for one that docker calls by the kernel's.
func processor(machine string) string {
	switch strings.ToLower(machine) {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "armv6l", "armv7l", "armhf", "armel":
		return "arm"
	}
	return machine
}

func (in *reading) portsIn(e *swarm.EndpointSpec) ([]cluster.Port, error) {
	if e == nil {
		return nil, nil
	}
	switch e.Mode {
	case "", swarm.ResolutionModeVIP:
	case swarm.ResolutionModeDNSRR:
		return nil, errNoEffect("endpoint mode dnsrr", "a service's name is always a virtual IP here; tasks.NAME gives the addresses of its tasks")
	default:
		return nil, fmt.Errorf("unknown endpoint mode %q: want vip", e.Mode)
	}
	var out []cluster.Port
	for _, p := range e.Ports {
		if p.PublishedPort > math.MaxUint16 || p.TargetPort > math.MaxUint16 {
			return nil, fmt.Errorf("port %d:%d: want 1 to 65535", p.PublishedPort, p.TargetPort)
		}
		port := cluster.Port{
			Published: uint16(p.PublishedPort), Target: uint16(p.TargetPort), Protocol: cluster.Protocol(p.Protocol), Mode: cluster.PortMode(p.PublishMode),
		}
		if port.Protocol == "" {
			port.Protocol = cluster.TCP
		}
		if port.Mode == "" {
			port.Mode = cluster.PortIngress
		}
		if port.Published == 0 && port.Target != 0 {
			var err error
			if port.Published, err = in.anyPort(port); err != nil {
				return nil, err
			}
		}
		if p.Name != "" {
			in.warn("port %d: its name %q is not kept: ports have none here", p.TargetPort, p.Name)
		}
		out = append(out, port)
	}
	return out, nil
}

// anyPort is the port that the service publishes already for a target, or a free one.
func (in *reading) anyPort(p cluster.Port) (uint16, error) {
	for _, old := range in.base.Ports {
		if old.Target == p.Target && old.Protocol == p.Protocol && old.Mode == p.Mode {
			return old.Published, nil
		}
	}
	return in.port(p.Protocol)
}

func (in *reading) networksIn(networks []swarm.NetworkAttachmentConfig) ([]cluster.NetworkRef, error) {
	var out []cluster.NetworkRef
	for _, n := range networks {
		name, ok := in.networks[n.Target]
		if !ok {
			return nil, fmt.Errorf("network %s not found: `docker network create --driver overlay %s` makes it", n.Target, n.Target)
		}
		if len(n.DriverOpts) > 0 {
			return nil, errNoEffect("driver options of network "+name, "a network is a name here, and has none")
		}
		out = append(out, cluster.NetworkRef{Name: name, Aliases: n.Aliases})
	}
	if len(out) > len(in.base.Networks) {
		in.warn("%s", oneNetwork)
	}
	return out, nil
}

// oneNetwork is what a user of docker must know of networks.
const oneNetwork = "piswarm has one flat network: a network of docker's is a name and gives services their aliases, and does not keep any from reaching the others"

func (in *reading) logDriverIn(d *swarm.Driver) error {
	if d == nil {
		return nil
	}
	switch d.Name {
	case "", "json-file", "local":
	default:
		return errNoEffect("log driver "+d.Name, "output is kept in memory on the node and read by `docker service logs`")
	}
	for option := range d.Options {
		switch option {
		case "max-size", "max-file", "compress", "mode", "max-buffer-size":
			in.warn("log option %s is not kept: output is kept in memory, and as much of it as a node has room for", option)
		default:
			return errNoEffect("log option "+option, "output is kept as it is")
		}
	}
	return nil
}

func (in *reading) restartIn(p *swarm.RestartPolicy) (cluster.RestartPolicy, error) {
	var out cluster.RestartPolicy
	if p == nil {
		return out, nil
	}
	out.Condition = cluster.RestartCondition(p.Condition)
	if p.Delay != nil {
		out.Delay = *p.Delay
	}
	if p.Window != nil {
		out.Window = *p.Window
	}
	var err error
	if p.MaxAttempts != nil {
		out.MaxAttempts, err = count("MaxAttempts", *p.MaxAttempts)
	}
	return out, err
}

// defaultMonitor is docker's.
const defaultMonitor = 5 * time.Second

func updateIn(what string, u *swarm.UpdateConfig, base cluster.UpdateConfig) (cluster.UpdateConfig, error) {
	if u == nil {
		return cluster.UpdateConfig{}.WithDefaults(), nil
	}
	n, err := count(what+": Parallelism", u.Parallelism)
	out := cluster.UpdateConfig{
		Parallelism: n, Delay: u.Delay, Monitor: u.Monitor, MaxFailureRatio: ratioIn(u.MaxFailureRatio, base),
		FailureAction: cluster.FailureAction(u.FailureAction), Order: cluster.Order(u.Order),
	}
	if out.FailureAction == "" {
		out.FailureAction = cluster.OnFailurePause
	}
	if out.Monitor == 0 && (base.FailureAction == "" || base.Monitor != 0) {
		out.Monitor = defaultMonitor
	}
	return out, err
}

// ratioIn reads docker's number, which is of half the precision. One that has not changed stays what it was.
func ratioIn(r float32, base cluster.UpdateConfig) float64 {
	if float32(base.MaxFailureRatio) == r {
		return base.MaxFailureRatio
	}
	return float64(r)
}
