package compose

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/distribution/reference"
	"github.com/docker/go-units"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// service is what one service of the file becomes.
func (c *converter) service(s types.ServiceConfig) (cluster.Spec, error) {
	if s.Image == "" {
		return cluster.Spec{}, errors.New("it has no image, and images are not built here: name one")
	}
	named, err := reference.ParseNormalizedNamed(s.Image)
	if err != nil {
		return cluster.Spec{}, fmt.Errorf("image %q: want a name such as nginx:1.27: %w", s.Image, err)
	}
	deploy := s.Deploy
	if deploy == nil {
		deploy = &types.DeployConfig{}
	}
	spec := cluster.Spec{Name: c.stack + "_" + s.Name, Labels: c.labels(deploy.Labels), Mode: cluster.Mode(cmp.Or(deploy.Mode, string(cluster.Replicated)))}
	spec.Labels[ImageLabel] = s.Image
	if !spec.Mode.PerNode() {
		spec.Replicas = 1
		for _, n := range []*int{s.Scale, deploy.Replicas} {
			if n != nil {
				spec.Replicas = *n
			}
		}
	} else if deploy.Replicas != nil {
		return spec, fmt.Errorf("deploy.replicas: a %s service has one task on every node", spec.Mode)
	}
	spec.Container = cluster.Container{
		Image: reference.TagNameOnly(named).String(), Entrypoint: s.Entrypoint, Args: s.Command, Env: variables(s.Environment),
		Labels: c.labels(s.Labels), Hostname: s.Hostname, User: s.User, Workdir: s.WorkingDir, ReadOnly: s.ReadOnly,
		Init: s.Init != nil && *s.Init, Privileged: s.Privileged, StopSignal: s.StopSignal,
	}
	if s.StopGracePeriod != nil {
		spec.Container.StopGracePeriod = time.Duration(*s.StopGracePeriod)
	}
	for _, step := range []func(types.ServiceConfig, *types.DeployConfig, *cluster.Spec) error{
		c.processes, c.health, c.ports, c.mounts, c.files, c.networks, c.resources, c.placement, c.restart, c.updates,
	} {
		if err := step(s, deploy, &spec); err != nil {
			return spec, err
		}
	}
	spec = spec.WithDefaults()
	return spec, spec.Validate()
}

// variables are those that have a value: as with docker, one that is only named and not set here is not there.
func variables(m types.MappingWithEquals) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if value := m[name]; value != nil {
			all = append(all, name+"="+*value)
		}
	}
	return all
}

func (c *converter) processes(s types.ServiceConfig, _ *types.DeployConfig, spec *cluster.Spec) error {
	if s.Entrypoint != nil && len(s.Entrypoint) == 0 || s.Command != nil && len(s.Command) == 0 {
		return errors.New("an empty command or entrypoint cannot take away the image's: give the whole command")
	}
	for list, to := range map[*[]string]*[]string{&s.CapAdd: &spec.Container.CapAdd, &s.CapDrop: &spec.Container.CapDrop} {
		for _, name := range *list {
			capability, err := cluster.NormalizeCapability(name)
			if err != nil {
				return err
			}
			*to = append(*to, capability)
		}
	}
	for _, d := range s.Devices {
		device, err := cluster.ParseDevice(strings.TrimSuffix(d.Source+":"+d.Target+":"+d.Permissions, ":"))
		if err != nil {
			return err
		}
		spec.Container.Devices = append(spec.Container.Devices, device)
	}
	return nil
}

func (c *converter) health(s types.ServiceConfig, _ *types.DeployConfig, spec *cluster.Spec) error {
	h := s.HealthCheck
	if h == nil {
		return nil
	}
	health := &spec.Container.Health
	switch {
	case h.Disable, len(h.Test) > 0 && h.Test[0] == "NONE":
		*health = cluster.Health{Disabled: true}
		return nil
	case len(h.Test) == 0: // the image's, at other times
	case h.Test[0] == "CMD" && len(h.Test) > 1:
		health.Cmd = h.Test[1:]
	case h.Test[0] == "CMD-SHELL" && len(h.Test) == 2:
		health.Cmd = []string{"/bin/sh", "-c", h.Test[1]}
	default:
		return fmt.Errorf("healthcheck.test %q: want a command, or [CMD, …], [CMD-SHELL, …] or [NONE]", []string(h.Test))
	}
	for _, d := range []struct {
		from *types.Duration
		to   *time.Duration
	}{{h.Interval, &health.Interval}, {h.Timeout, &health.Timeout}, {h.StartPeriod, &health.StartPeriod}, {h.StartInterval, &health.StartInterval}} {
		if d.from != nil {
			*d.to = time.Duration(*d.from)
		}
	}
	if h.Retries != nil {
		health.Retries = int(min(*h.Retries, 1<<20)) // too many are refused
	}
	return nil
}

func (c *converter) ports(s types.ServiceConfig, _ *types.DeployConfig, spec *cluster.Spec) error {
	for _, p := range s.Ports {
		switch {
		case p.HostIP != "":
			return fmt.Errorf("ports: %s:%s: a port is published on every address of every node: leave the address out", p.HostIP, p.Published)
		case p.Published == "" || p.Published == "0":
			return fmt.Errorf("ports: %d: say as which port it is published, for example 8080:%d", p.Target, p.Target)
		case p.Target > 65535:
			return fmt.Errorf("ports: there is no port %d", p.Target)
		}
		published, err := strconv.ParseUint(p.Published, 10, 16)
		if err != nil {
			return fmt.Errorf("ports: published %q: want one port, for example 8080", p.Published)
		}
		spec.Ports = append(spec.Ports, cluster.Port{
			Published: uint16(published), Target: uint16(p.Target), Protocol: cluster.Protocol(p.Protocol), Mode: cluster.PortMode(p.Mode),
		})
	}
	return nil
}

func (c *converter) mounts(s types.ServiceConfig, _ *types.DeployConfig, spec *cluster.Spec) error {
	for _, v := range s.Volumes {
		m := cluster.Mount{Type: cluster.MountType(v.Type), Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly}
		switch v.Type {
		case "volume":
			if v.Source == "" {
				return fmt.Errorf("volumes: %s: a volume needs a name, under which a node keeps it", v.Target)
			}
			volume := c.project.Volumes[v.Source]
			if volume.Driver != "" && volume.Driver != "local" {
				return fmt.Errorf("volumes: %s: there is no driver %s: a volume is a directory of the node", v.Source, volume.Driver)
			}
			m.Source = cmp.Or(volume.Name, v.Source)
		case "tmpfs":
			if v.Tmpfs != nil {
				m.SizeBytes = int64(v.Tmpfs.Size)
			}
		}
		spec.Container.Mounts = append(spec.Container.Mounts, m)
	}
	for _, text := range s.Tmpfs {
		target, options, _ := strings.Cut(text, ":")
		m := cluster.Mount{Type: cluster.MountTmpfs, Target: target}
		for option := range strings.SplitSeq(options, ",") {
			value, isSize := strings.CutPrefix(option, "size=")
			switch {
			case isSize:
				size, err := units.RAMInBytes(value)
				if err != nil {
					return fmt.Errorf("tmpfs %s: size %q: want for example 64m", target, value)
				}
				m.SizeBytes = size
			case option != "":
				return fmt.Errorf("tmpfs %s: option %q: want size alone", target, option)
			}
		}
		spec.Container.Mounts = append(spec.Container.Mounts, m)
	}
	return nil
}

// files gives the service its secrets and configs.
func (c *converter) files(s types.ServiceConfig, _ *types.DeployConfig, spec *cluster.Spec) error {
	for _, ref := range s.Secrets {
		r, err := fileRef(types.FileReferenceConfig(ref), c.project.Secrets[ref.Source].Name)
		if err != nil {
			return fmt.Errorf("secret %s: %w", ref.Source, err)
		}
		spec.Container.Secrets = append(spec.Container.Secrets, r)
	}
	for _, ref := range s.Configs {
		r, err := fileRef(types.FileReferenceConfig(ref), c.project.Configs[ref.Source].Name)
		if err != nil {
			return fmt.Errorf("config %s: %w", ref.Source, err)
		}
		spec.Container.Configs = append(spec.Container.Configs, r)
	}
	return nil
}

func fileRef(ref types.FileReferenceConfig, name string) (cluster.FileRef, error) {
	r := cluster.FileRef{Name: name, Target: cmp.Or(ref.Target, ref.Source)}
	for _, owner := range []struct {
		key, value string
		to         *uint32
	}{{"uid", ref.UID, &r.UID}, {"gid", ref.GID, &r.GID}} {
		if owner.value == "" {
			continue
		}
		n, err := strconv.ParseUint(owner.value, 10, 31)
		if err != nil {
			return r, fmt.Errorf("%s %q: want a number", owner.key, owner.value)
		}
		*owner.to = uint32(n)
	}
	if ref.Mode != nil {
		if *ref.Mode <= 0 || *ref.Mode > 0o777 {
			return r, fmt.Errorf("mode %o: want 0001 to 0777", int64(*ref.Mode))
		}
		r.Mode = cluster.FileMode(*ref.Mode)
	}
	return r, nil
}

// networks gives the service the name that it has in the file, for the others on each of its networks.
func (c *converter) networks(s types.ServiceConfig, _ *types.DeployConfig, spec *cluster.Spec) error {
	for _, key := range slices.Sorted(maps.Keys(s.Networks)) {
		ref := cluster.NetworkRef{Name: c.project.Networks[key].Name, Aliases: []string{s.Name}}
		if n := s.Networks[key]; n != nil {
			for _, alias := range n.Aliases {
				if !slices.Contains(ref.Aliases, alias) {
					ref.Aliases = append(ref.Aliases, alias)
				}
			}
		}
		spec.Networks = append(spec.Networks, ref)
	}
	return nil
}
