package dockerapi

import (
	"os"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// specOut is our spec of a service in docker's words. What docker has no words for is left out; see specIn.
func specOut(s cluster.Spec) swarm.ServiceSpec {
	update, rollback := updateOut(s.Update), updateOut(s.Rollback)
	out := swarm.ServiceSpec{
		Annotations:  swarm.Annotations{Name: s.Name, Labels: orEmpty(s.Labels)},
		TaskTemplate: taskOut(s), Mode: modeOut(s), UpdateConfig: &update, RollbackConfig: &rollback,
		EndpointSpec: &swarm.EndpointSpec{Mode: swarm.ResolutionModeVIP, Ports: portsOut(s.Ports)},
	}
	return out
}

// orEmpty is what docker's clients range over and index.
func orEmpty(labels map[string]string) map[string]string {
	if labels == nil {
		return map[string]string{}
	}
	return labels
}

func taskOut(s cluster.Spec) swarm.TaskSpec {
	r := s.Restart
	attempts := uint64(max(r.MaxAttempts, 0))
	c := containerOut(s.Container)
	out := swarm.TaskSpec{
		ContainerSpec: &c, ForceUpdate: s.Force, Runtime: swarm.RuntimeContainer,
		Resources: &swarm.ResourceRequirements{
			Limits:       &swarm.Limit{MemoryBytes: s.Resources.Limits.MemoryBytes, NanoCPUs: s.Resources.Limits.NanoCPUs, Pids: s.Resources.Pids},
			Reservations: &swarm.Resources{MemoryBytes: s.Resources.Reservations.MemoryBytes, NanoCPUs: s.Resources.Reservations.NanoCPUs},
		},
		RestartPolicy: &swarm.RestartPolicy{Condition: swarm.RestartPolicyCondition(r.Condition), Delay: &r.Delay, Window: &r.Window, MaxAttempts: &attempts},
		Placement:     placementOut(s),
	}
	for _, n := range s.Networks {
		out.Networks = append(out.Networks, swarm.NetworkAttachmentConfig{Target: n.Name, Aliases: n.Aliases})
	}
	return out
}

func modeOut(s cluster.Spec) swarm.ServiceMode {
	replicas, concurrent := uint64(max(s.Replicas, 0)), uint64(max(s.MaxConcurrent, 0))
	switch s.Mode {
	case cluster.Global:
		return swarm.ServiceMode{Global: &swarm.GlobalService{}}
	case cluster.GlobalJob:
		return swarm.ServiceMode{GlobalJob: &swarm.GlobalJob{}}
	case cluster.ReplicatedJob:
		return swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: &concurrent, TotalCompletions: &replicas}}
	}
	return swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}}
}

func placementOut(s cluster.Spec) *swarm.Placement {
	out := &swarm.Placement{MaxReplicas: uint64(max(s.Placement.MaxPerNode, 0))}
	for _, c := range s.Placement.Constraints {
		if c.Attribute == "node.id" {
			c.Value = swarmID(c.Value)
		}
		out.Constraints = append(out.Constraints, c.String())
	}
	for _, descriptor := range s.Placement.Spread {
		out.Preferences = append(out.Preferences, swarm.PlacementPreference{Spread: &swarm.SpreadOver{SpreadDescriptor: descriptor}})
	}
	for _, p := range s.Container.Platforms {
		out.Platforms = append(out.Platforms, swarm.Platform{Architecture: p.Arch, OS: p.OS})
	}
	return out
}

func updateOut(u cluster.UpdateConfig) swarm.UpdateConfig {
	u = u.WithDefaults()
	return swarm.UpdateConfig{
		Parallelism: uint64(max(u.Parallelism, 0)), Delay: u.Delay, Monitor: u.Monitor, MaxFailureRatio: float32(u.MaxFailureRatio),
		FailureAction: swarm.FailureAction(u.FailureAction), Order: swarm.UpdateOrder(u.Order),
	}
}

func portsOut(ports []cluster.Port) []swarm.PortConfig {
	var out []swarm.PortConfig
	for _, p := range ports {
		out = append(out, swarm.PortConfig{
			Protocol: network.IPProtocol(p.Protocol), TargetPort: uint32(p.Target), PublishedPort: uint32(p.Published),
			PublishMode: swarm.PortConfigPublishMode(p.Mode),
		})
	}
	return out
}

// pinned is an image's name with the bytes that it means.
func pinned(c cluster.Container) string {
	if c.Digest == "" || strings.Contains(c.Image, "@") {
		return c.Image
	}
	return c.Image + "@" + c.Digest
}

func containerOut(c cluster.Container) swarm.ContainerSpec {
	out := swarm.ContainerSpec{
		Image: pinned(c), Labels: c.Labels, Command: c.Entrypoint, Args: c.Args, Hostname: c.Hostname, Env: c.Env, Dir: c.Workdir, User: c.User,
		StopSignal: c.StopSignal, ReadOnly: c.ReadOnly, Healthcheck: healthOut(c.Health), CapabilityAdd: c.CapAdd, CapabilityDrop: c.CapDrop,
		Isolation: container.IsolationDefault, Init: &c.Init,
	}
	if c.StopGracePeriod != 0 {
		out.StopGracePeriod = &c.StopGracePeriod
	}
	for _, m := range c.Mounts {
		own := mount.Mount{Type: mount.Type(m.Type), Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly}
		if m.SizeBytes != 0 {
			own.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: m.SizeBytes}
		}
		out.Mounts = append(out.Mounts, own)
	}
	for _, r := range c.Secrets {
		out.Secrets = append(out.Secrets, &swarm.SecretReference{SecretID: r.ID, SecretName: r.Name, File: &swarm.SecretReferenceFileTarget{
			Name: strings.TrimPrefix(r.Target, "/run/secrets/"), UID: owner(r.UID), GID: owner(r.GID), Mode: os.FileMode(r.Mode),
		}})
	}
	for _, r := range c.Configs {
		out.Configs = append(out.Configs, &swarm.ConfigReference{ConfigID: r.ID, ConfigName: r.Name, File: &swarm.ConfigReferenceFileTarget{
			Name: r.Target, UID: owner(r.UID), GID: owner(r.GID), Mode: os.FileMode(r.Mode),
		}})
	}
	return out
}

func owner(id uint32) string { return strconv.FormatUint(uint64(id), 10) }

// healthOut says nothing of a check by HTTP or TCP but its times.
func healthOut(h cluster.Health) *container.HealthConfig {
	out := &container.HealthConfig{Interval: h.Interval, Timeout: h.Timeout, Retries: h.Retries, StartPeriod: h.StartPeriod, StartInterval: h.StartInterval}
	switch {
	case h.Disabled:
		out.Test = []string{"NONE"}
	case len(h.Cmd) == 3 && h.Cmd[0] == "/bin/sh" && h.Cmd[1] == "-c":
		out.Test = []string{"CMD-SHELL", h.Cmd[2]}
	case len(h.Cmd) > 0:
		out.Test = append([]string{"CMD"}, h.Cmd...)
	case h.Interval == 0 && h.Timeout == 0 && h.Retries == 0 && h.StartPeriod == 0 && h.StartInterval == 0:
		return nil
	}
	return out
}
