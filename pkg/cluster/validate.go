package cluster

import (
	"fmt"
	"maps"
	"slices"
)

const (
	// MaxReplicas bounds a service, so that its plan fits into one record. Fifty Pis have ten of each then; a typing error asks
	// for far more.
	MaxReplicas = 500
	// MinMemoryLimit is the least memory in which a container starts at all.
	MinMemoryLimit = 6 << 20

	// The upper bounds keep sums over thousands of tasks within an int64.
	maxMemory   = 1 << 40
	minNanoCPUs = 1_000_000
	maxNanoCPUs = 1024 * 1_000_000_000

	// maxPids is the most that any kernel has.
	maxPids = 1 << 22
)

// WithDefaults returns the spec with docker's defaults where it says nothing. Replicas stays as it is, because
// none is a number that one may ask for.
func (s Spec) WithDefaults() Spec {
	if s.Mode == "" {
		s.Mode = Replicated
	}
	if s.Placement.Strategy == "" {
		s.Placement.Strategy = Spread
	}
	if s.OnPartition == "" {
		s.OnPartition = RunOnPartition
	}
	if s.Restart.Condition == "" {
		s.Restart.Condition = RestartAny
		if s.Mode.Job() {
			s.Restart.Condition = RestartOnFailure
		}
	}
	s.Update, s.Rollback = s.Update.WithDefaults(), s.Rollback.WithDefaults()
	if s.Container.StopGracePeriod == 0 {
		s.Container.StopGracePeriod = DefaultStopGracePeriod
	}
	// The slices are the caller's: write into copies.
	s.Ports = slices.Clone(s.Ports)
	for i := range s.Ports {
		if s.Ports[i].Protocol == "" {
			s.Ports[i].Protocol = TCP
		}
		if s.Ports[i].Mode == "" {
			s.Ports[i].Mode = PortIngress
		}
	}
	s.Container.Mounts = slices.Clone(s.Container.Mounts)
	for i := range s.Container.Mounts {
		if s.Container.Mounts[i].Type == "" {
			s.Container.Mounts[i].Type = MountVolume
		}
	}
	s.Container.Secrets = secretFiles.each(s.Container.Secrets)
	s.Container.Configs = configFiles.each(s.Container.Configs)
	s.Container.Devices = slices.Clone(s.Container.Devices)
	for i := range s.Container.Devices {
		d := &s.Container.Devices[i]
		if d.Container == "" {
			d.Container = d.Host
		}
		if d.Permissions == "" {
			d.Permissions = "rwm"
		}
	}
	return s
}

// Validate refuses a spec that must not enter the state. The error is one line that names the first fault and
// what to do. Defaults are to be filled in before. An empty image digest passes, so that a spec can be checked
// before the image is looked up; whoever stores the spec has it resolved by then.
func (s Spec) Validate() error {
	if err := ValidateServiceName(s.Name); err != nil {
		return err
	}
	checks := []func() error{
		s.validateScale,
		func() error { return ValidateLabels(s.Labels) },
		s.Container.validate,
		s.Resources.validate,
		s.Placement.validate,
		s.validatePorts,
		s.validateNetworks,
		s.OnPartition.validate,
		s.validateHealth,
		s.validateRestart,
		func() error {
			return s.Update.validate("update", OnFailurePause, OnFailureContinue, OnFailureRollback)
		},
		func() error { return s.Rollback.validate("rollback", OnFailurePause, OnFailureContinue) },
	}
	for _, check := range checks {
		if err := check(); err != nil {
			return fmt.Errorf("service %s: %w", s.Name, err)
		}
	}
	return nil
}

// ValidateReplicas refuses a number of replicas that no service can have.
func ValidateReplicas(n int) error {
	if n < 0 || n > MaxReplicas {
		return fmt.Errorf("%d replicas are not possible: want a number from 0 to %d", n, MaxReplicas)
	}
	return nil
}

func (s Spec) validateScale() error {
	if s.Mode != ReplicatedJob && s.MaxConcurrent != 0 {
		return fmt.Errorf("--max-concurrent is for --mode replicated-job")
	}
	switch s.Mode {
	case Replicated:
		return ValidateReplicas(s.Replicas)
	case ReplicatedJob:
		if s.MaxConcurrent < 0 {
			return fmt.Errorf("--max-concurrent %d is not possible: want 1 or more, or 0 for all at once", s.MaxConcurrent)
		}
		return ValidateReplicas(s.Replicas)
	case Global, GlobalJob:
		if s.Replicas != 0 {
			return fmt.Errorf("a %s service runs once on every node and has no number of replicas: leave out --replicas, or use --mode replicated", s.Mode)
		}
		if s.Placement.MaxPerNode != 0 {
			return fmt.Errorf("a %s service runs once on every node: leave out --replicas-max-per-node, or use --mode replicated", s.Mode)
		}
		return nil
	}
	return fmt.Errorf("unknown mode %q: want replicated, global, replicated-job or global-job", shorten(string(s.Mode)))
}

func (o OnPartition) validate() error {
	switch o {
	case "", RunOnPartition, StopOnPartition: // none at all in a spec of an older version: run
		return nil
	}
	return fmt.Errorf("unknown --on-partition %q: want run or stop", shorten(string(o)))
}

func (r Resources) validate() error {
	for _, a := range []struct {
		what string
		Amount
	}{{"limit", r.Limits}, {"reservation", r.Reservations}} {
		if a.MemoryBytes < 0 || a.MemoryBytes > maxMemory {
			return fmt.Errorf("a memory %s of %d bytes is not possible: want 6m to 1t, for example 128m", a.what, a.MemoryBytes)
		}
		if a.NanoCPUs != 0 && (a.NanoCPUs < minNanoCPUs || a.NanoCPUs > maxNanoCPUs) {
			return fmt.Errorf("a CPU %s of %g cores is not possible: want 0.001 to 1024, for example 0.5", a.what, float64(a.NanoCPUs)/1e9)
		}
	}
	if r.Pids < 0 || r.Pids > maxPids {
		return fmt.Errorf("a limit of %d processes is not possible: want 1 to %d, or 0 for %d", r.Pids, maxPids, DefaultPids)
	}
	if m := r.Limits.MemoryBytes; m != 0 && m < MinMemoryLimit {
		return fmt.Errorf("a memory limit of %d bytes is too small for a container to start: want at least 6m", m)
	}
	if l := r.Limits.MemoryBytes; l != 0 && r.Reservations.MemoryBytes > l {
		return fmt.Errorf("the memory reservation (%d bytes) is above the limit (%d bytes): lower it or raise the limit", r.Reservations.MemoryBytes, l)
	}
	if l := r.Limits.NanoCPUs; l != 0 && r.Reservations.NanoCPUs > l {
		return fmt.Errorf("the CPU reservation (%g) is above the limit (%g): lower it or raise the limit", float64(r.Reservations.NanoCPUs)/1e9, float64(l)/1e9)
	}
	return nil
}

func (p Placement) validate() error {
	switch p.Strategy {
	case Spread, Binpack:
	default:
		return fmt.Errorf("unknown strategy %q: want spread or binpack", shorten(string(p.Strategy)))
	}
	if p.MaxPerNode < 0 {
		return fmt.Errorf("a maximum of %d tasks per node is not possible: want 1 or more, or 0 for no maximum", p.MaxPerNode)
	}
	for _, c := range p.Constraints {
		parsed, err := ParseConstraint(c.String())
		if err != nil {
			return err
		}
		if parsed != c {
			return fmt.Errorf("constraint %q: leave out the white space around its parts", shorten(c.String()))
		}
	}
	for _, attr := range p.Spread {
		if err := ValidateNodeAttribute(attr); err != nil {
			return fmt.Errorf("placement preference: %w", err)
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
