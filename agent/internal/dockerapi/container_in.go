package dockerapi

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"

	"github.com/piswarm/piswarm/pkg/cluster"
)

func (in *reading) containerIn(c *swarm.ContainerSpec) (cluster.Container, error) {
	if err := refuseContainer(c); err != nil {
		return cluster.Container{}, err
	}
	base := in.base.Container
	out := cluster.Container{
		Entrypoint: c.Command, Args: c.Args, Env: c.Env, Workdir: c.Dir, User: c.User, Hostname: c.Hostname, Labels: c.Labels,
		ReadOnly: c.ReadOnly, Init: c.Init != nil && *c.Init, Devices: base.Devices, Privileged: base.Privileged,
	}
	var err error
	if out.Image, out.Digest, err = splitDigest(c.Image); err != nil {
		return out, err
	}
	if out.Image == base.Image && out.Digest == base.Digest {
		out.Platforms = base.Platforms
	}
	if c.StopGracePeriod != nil {
		out.StopGracePeriod = *c.StopGracePeriod
	}
	for _, part := range []func() error{
		func() error { out.StopSignal, err = signalIn(c.StopSignal); return err },
		func() error { out.CapAdd, err = capabilitiesIn(c.CapabilityAdd); return err },
		func() error { out.CapDrop, err = capabilitiesIn(c.CapabilityDrop); return err },
		func() error { out.Health, err = healthIn(c.Healthcheck, base.Health); return err },
		func() error { out.Mounts, err = in.mountsIn(c.Mounts); return err },
		func() error { out.Secrets, err = in.secretsIn(c.Secrets); return err },
		func() error { out.Configs, err = in.configsIn(c.Configs); return err },
	} {
		if err := part(); err != nil {
			return cluster.Container{}, err
		}
	}
	return out, nil
}

// refuseContainer refuses what piswarm's containers do not have.
func refuseContainer(c *swarm.ContainerSpec) error {
	dns := c.DNSConfig
	for _, no := range []struct {
		given           bool
		option, instead string
	}{
		{c.TTY, "TTY", "tasks have no terminal; `docker exec -it` gives one to a command beside them"},
		{c.OpenStdin, "OpenStdin", "tasks have no standard input"},
		{len(c.Groups) > 0, "groups", "name one group with the user, as USER:GROUP"},
		{len(c.Hosts) > 0, "extra hosts", "names of services are known to all containers; others belong into the DNS of the LAN"},
		{dns != nil && (len(dns.Nameservers) > 0 || len(dns.Search) > 0 || len(dns.Options) > 0), "DNS settings", "containers ask their node, which asks its own resolvers"},
		{!c.Isolation.IsDefault(), "isolation", "containers are isolated in one way"},
		{len(c.Sysctls) > 0, "sysctls", "they cannot be set for a container"},
		{len(c.Ulimits) > 0, "ulimits", "containers have the node's"},
		{c.OomScoreAdj != 0, "OomScoreAdj", "limit the memory of the others instead"},
	} {
		if no.given {
			return errNoEffect(no.option, no.instead)
		}
	}
	return refusePrivileges(c.Privileges)
}

// refusePrivileges takes what holds for every container: the default seccomp profile and no new privileges.
func refusePrivileges(p *swarm.Privileges) error {
	switch {
	case p == nil:
		return nil
	case p.CredentialSpec != nil && *p.CredentialSpec != (swarm.CredentialSpec{}):
		return errNoEffect("credential spec", "it is for Windows")
	case p.SELinuxContext != nil && *p.SELinuxContext != (swarm.SELinuxContext{}):
		return errNoEffect("SELinux context", "piswarm's containers have none")
	case p.Seccomp != nil && (p.Seccomp.Mode != "" && p.Seccomp.Mode != swarm.SeccompModeDefault || len(p.Seccomp.Profile) > 0):
		return errNoEffect("seccomp profile", "containers have the default one")
	case p.AppArmor != nil && p.AppArmor.Mode != "" && p.AppArmor.Mode != swarm.AppArmorModeDefault:
		return errNoEffect("AppArmor mode", "containers have the default one")
	}
	return nil
}

// splitDigest takes NAME:TAG@DIGEST apart, as docker's client pins an image, and gives the name its normal form. A name
// without a tag is pinned by its user and stays whole.
func splitDigest(image string) (name, digest string, err error) {
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", "", fmt.Errorf("image %q: %w", image, err)
	}
	pinned, ok := ref.(reference.Canonical)
	if !ok {
		return reference.TagNameOnly(ref).String(), "", nil
	}
	digest = pinned.Digest().String()
	if tagged, ok := ref.(reference.Tagged); ok {
		return ref.Name() + ":" + tagged.Tag(), digest, nil
	}
	return ref.String(), digest, nil
}

func signalIn(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return cluster.NormalizeSignal(s)
}

func capabilitiesIn(names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		c, err := cluster.NormalizeCapability(name)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// healthIn reads a health check. One by HTTP or TCP, for which docker has no words, stays as long as none is put in its
// place.
func healthIn(h *container.HealthConfig, base cluster.Health) (cluster.Health, error) {
	if h == nil {
		h = &container.HealthConfig{}
	}
	out := cluster.Health{
		Port: base.Port, Interval: h.Interval, Timeout: h.Timeout, Retries: h.Retries, StartPeriod: h.StartPeriod, StartInterval: h.StartInterval,
	}
	if len(h.Test) == 0 {
		out.HTTP, out.TCP = base.HTTP, base.TCP
		return out, nil
	}
	switch kind, args := h.Test[0], h.Test[1:]; {
	case kind == "NONE":
		out.Disabled = true
	case kind == "CMD" && len(args) > 0:
		out.Cmd = args
	case kind == "CMD-SHELL" && len(args) == 1:
		out.Cmd = []string{"/bin/sh", "-c", args[0]}
	default:
		return out, fmt.Errorf("health check %q: want NONE, CMD with a command, or CMD-SHELL with a line", h.Test)
	}
	return out, nil
}

func (in *reading) mountsIn(mounts []mount.Mount) ([]cluster.Mount, error) {
	var out []cluster.Mount
	for _, m := range mounts {
		if err := in.refuseMount(m); err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.Target, err)
		}
		own := cluster.Mount{Type: cluster.MountType(m.Type), Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly}
		if m.TmpfsOptions != nil {
			own.SizeBytes = m.TmpfsOptions.SizeBytes
		}
		out = append(out, own)
	}
	return out, nil
}

// refuseMount refuses options of a mount that would be without effect.
func (in *reading) refuseMount(m mount.Mount) error {
	switch m.Type {
	case "", mount.TypeBind, mount.TypeVolume, mount.TypeTmpfs:
	default:
		return fmt.Errorf("unknown type %q: want bind, volume or tmpfs", m.Type)
	}
	b, v, t := m.BindOptions, m.VolumeOptions, m.TmpfsOptions
	switch {
	case b != nil && b.Propagation != "" && b.Propagation != mount.PropagationRPrivate:
		return errNoEffect("propagation "+string(b.Propagation), "it is rprivate for all")
	case b != nil && (b.NonRecursive || b.ReadOnlyNonRecursive || b.ReadOnlyForceRecursive):
		return errNoEffect("a bind that is not recursive", "all are")
	case b != nil && b.CreateMountpoint:
		return errNoEffect("CreateMountpoint", "make the directory on the nodes, or use a volume")
	case v != nil && v.Subpath != "":
		return errNoEffect("volume subpath", "mount the volume as a whole")
	case v != nil && v.DriverConfig != nil && (v.DriverConfig.Name != "" && v.DriverConfig.Name != "local" || len(v.DriverConfig.Options) > 0):
		return errNoEffect("volume driver and its options", "a volume is a directory that the node keeps under its name")
	case t != nil && t.Mode != 0:
		return errNoEffect("tmpfs mode", "leave it out")
	case t != nil && len(t.Options) > 0:
		return errNoEffect("tmpfs options", "it has a size alone")
	case m.ImageOptions != nil || m.ClusterOptions != nil:
		return errors.New("options of images and clusters are for other types of mounts")
	}
	if v != nil && slices.ContainsFunc(labelKeys(v.Labels), func(key string) bool { return key != stackLabel }) {
		in.warn("mount %s: the volume's labels are not kept: volumes have none here", m.Target)
	}
	if m.Consistency != "" && m.Consistency != mount.ConsistencyDefault {
		in.warn("mount %s: consistency %s has no meaning on linux", m.Target, m.Consistency)
	}
	return nil
}

// stackLabel is put on all that a stack consists of.
const stackLabel = "com.docker.stack.namespace"

func labelKeys(labels map[string]string) []string {
	var keys []string
	for key := range labels {
		keys = append(keys, key)
	}
	return keys
}

func (in *reading) secretsIn(refs []*swarm.SecretReference) ([]cluster.FileRef, error) {
	var out []cluster.FileRef
	for _, r := range refs {
		if r == nil || r.File == nil {
			return nil, errors.New("a secret has no file to be read as")
		}
		ref, err := in.fileIn(cluster.KindSecret, r.SecretName, r.SecretID, r.File.Name, r.File.UID, r.File.GID, uint32(r.File.Mode))
		if err != nil {
			return nil, err
		}
		out = append(out, ref)
	}
	return out, nil
}

func (in *reading) configsIn(refs []*swarm.ConfigReference) ([]cluster.FileRef, error) {
	var out []cluster.FileRef
	for _, r := range refs {
		if r == nil || r.Runtime != nil || r.File == nil {
			return nil, errors.New("a config has no file to be read as")
		}
		ref, err := in.fileIn(cluster.KindConfig, r.ConfigName, r.ConfigID, r.File.Name, r.File.UID, r.File.GID, uint32(r.File.Mode))
		if err != nil {
			return nil, err
		}
		out = append(out, ref)
	}
	return out, nil
}

func (in *reading) fileIn(kind, name, id, target, uid, gid string, mode uint32) (cluster.FileRef, error) {
	present, ok := in.fileID(kind, name)
	if !ok || id != "" && id != present {
		return cluster.FileRef{}, fmt.Errorf("%s %s not found", kind, name)
	}
	ref := cluster.FileRef{Name: name, ID: present, Target: target, Mode: cluster.FileMode(mode)}
	for _, owner := range []struct {
		what, text string
		to         *uint32
	}{{"UID", uid, &ref.UID}, {"GID", gid, &ref.GID}} {
		if owner.text == "" {
			continue
		}
		n, err := strconv.ParseUint(owner.text, 10, 31)
		if err != nil {
			return ref, fmt.Errorf("%s %s: %s %q: want a number, since names are the image's", kind, name, owner.what, owner.text)
		}
		*owner.to = uint32(n)
	}
	return ref, nil
}
