package containers

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/client"
	profile "github.com/containerd/containerd/v2/contrib/apparmor"
	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/apparmor"
	"github.com/containerd/containerd/v2/pkg/oci"
	kernel "github.com/containerd/containerd/v2/pkg/seccomp"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/piswarm/piswarm/pkg/cluster"
)

const (
	// specVersion is the newest version of the OCI spec that crun 1.8 of Debian 12 reads.
	specVersion = "1.0.2"
	// oomScore lets a node that runs out of memory lose a container before it loses containerd or the agent.
	oomScore = 100
	// cpuPeriod is the stretch of time, in microseconds, over which a CPU limit is kept: the kernel's default.
	cpuPeriod = 100_000
	// profileName is that of containerd's default AppArmor profile, as the kernel has it for piswarm.
	profileName = "piswarm-default"
	// initPath is where a container finds its init. /dev is the container's own, so that nothing is left in its files.
	initPath = "/dev/piswarm-init"
)

// ociSpec says how runc makes the container. files are mounted read-only, by their path in the container.
func (r *Runtime) ociSpec(ctx context.Context, cl *client.Client, c *containers.Container, s Spec, image ocispec.ImageConfig, files map[string]string) (*specs.Spec, error) {
	// containerd's defaults: namespaces, masked and read-only paths, no new privileges, no devices.
	spec, err := oci.GenerateSpec(ctx, cl, c)
	if err != nil {
		return nil, err
	}
	spec.Version = specVersion
	spec.Hostname = s.hostname()
	spec.Root.Readonly = s.Container.ReadOnly
	if err := setProcess(spec.Process, s.Container, image); err != nil {
		return nil, err
	}
	if s.Container.Init {
		spec.Process.Args = append([]string{initPath}, spec.Process.Args...)
	}
	if err := setUser(ctx, cl, c, spec, s.Container, image); err != nil {
		return nil, err
	}
	if err := setResources(spec.Linux, s.Resources, readCgroups(cgroupRoot)); err != nil {
		return nil, err
	}
	spec.Linux.CgroupsPath = r.cgroup(s.ID)
	setNetwork(spec.Linux, s.NetNS)
	if err := r.setMounts(ctx, cl, c, spec, s.Container, files); err != nil {
		return nil, err
	}
	return spec, setPrivileges(ctx, cl, c, spec, s.Container)
}

// setProcess merges what the service says into what its image says, as docker does.
func setProcess(p *specs.Process, c cluster.Container, image ocispec.ImageConfig) error {
	entrypoint, args := image.Entrypoint, image.Cmd
	if len(c.Entrypoint) > 0 {
		// The image's command is meant for the image's entrypoint.
		entrypoint, args = c.Entrypoint, nil
	}
	if len(c.Args) > 0 {
		args = c.Args
	}
	p.Args = slices.Concat(entrypoint, args)
	if len(p.Args) == 0 {
		return rejectf("image %s has no command: give one", c.Image)
	}
	p.Env = mergeEnv(append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, image.Env...), c.Env)
	p.Cwd = "/"
	for _, dir := range []string{image.WorkingDir, c.Workdir} {
		if dir != "" {
			p.Cwd = path.Join("/", dir)
		}
	}
	p.OOMScoreAdj = new(oomScore)
	// As with docker, the limits are those of the daemon. A fixed one may be above what this machine allows.
	p.Rlimits = nil
	return nil
}

// mergeEnv puts variables over others; of several settings of one variable the last wins.
func mergeEnv(base, over []string) []string {
	var names []string
	settings := map[string]string{}
	for _, setting := range slices.Concat(base, over) {
		name, _, _ := strings.Cut(setting, "=")
		if _, ok := settings[name]; !ok {
			names = append(names, name)
		}
		settings[name] = setting
	}
	env := make([]string, 0, len(names))
	for _, name := range names {
		env = append(env, settings[name])
	}
	return env
}

// setUser looks the user up in the image's own /etc/passwd and /etc/group.
func setUser(ctx context.Context, cl *client.Client, c *containers.Container, spec *specs.Spec, cs cluster.Container, image ocispec.ImageConfig) error {
	name := cs.User
	if name == "" {
		name = image.User
	}
	if name == "" {
		name = "0"
	}
	if err := oci.WithUser(name)(ctx, cl, c, spec); err != nil {
		return rejectf("user %s of image %s: %w", name, cs.Image, err)
	}
	if strings.Contains(name, ":") {
		return nil // a group that is named stands alone
	}
	if name == "0" {
		name = "root"
	}
	if err := oci.WithAdditionalGIDs(name)(ctx, cl, c, spec); err != nil {
		return rejectf("groups of user %s of image %s: %w", name, cs.Image, err)
	}
	return nil
}

func setResources(l *specs.Linux, resources cluster.Resources, cgroups cgroupFacts) error {
	limits := resources.Limits
	if cgroups.v2 {
		l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	// There is always a limit, so without the means for it there is no container: one that starts processes without end
	// takes the whole node along.
	if !cgroups.pids {
		return rejectf("this node cannot limit the number of processes: want a kernel with CONFIG_CGROUP_PIDS, and no cgroup_disable=pids in /boot/firmware/cmdline.txt")
	}
	l.Resources.Pids = &specs.LinuxPids{Limit: new(cmp.Or(resources.Pids, cluster.DefaultPids))}
	if limits.MemoryBytes > 0 {
		if !cgroups.memory {
			return rejectf("this node cannot limit memory: append cgroup_enable=memory to the line in /boot/firmware/cmdline.txt and reboot")
		}
		l.Resources.Memory = &specs.LinuxMemory{Limit: &limits.MemoryBytes}
		if cgroups.swap {
			// Memory and swap together: no swap beyond the limit, which would only wear out the SD card.
			l.Resources.Memory.Swap = &limits.MemoryBytes
		}
	}
	if limits.NanoCPUs > 0 {
		// The kernel refuses less than a millisecond a period.
		quota := max(limits.NanoCPUs*cpuPeriod/1e9, 1000)
		l.Resources.CPU = &specs.LinuxCPU{Quota: &quota, Period: new(uint64(cpuPeriod))}
	}
	return nil
}

// setNetwork lets the container enter its network namespace, and allows in there what would otherwise need
// CAP_NET_RAW and CAP_NET_BIND_SERVICE: ping for every group, and ports below 1024.
func setNetwork(l *specs.Linux, netNS string) {
	for i := range l.Namespaces {
		if l.Namespaces[i].Type == specs.NetworkNamespace {
			l.Namespaces[i].Path = netNS
		}
	}
	l.Sysctl = map[string]string{
		"net.ipv4.ping_group_range":           "0 2147483647",
		"net.ipv4.ip_unprivileged_port_start": "0",
	}
}

// setPrivileges comes last: the seccomp profile follows from the capabilities.
func setPrivileges(ctx context.Context, cl *client.Client, c *containers.Container, spec *specs.Spec, cs cluster.Container) error {
	all, err := machineCapabilities()
	if err != nil {
		return fmt.Errorf("read the machine's capabilities: %w", err)
	}
	caps := capabilities(cs.CapAdd, cs.CapDrop, all)
	spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Permitted: caps, Effective: caps}
	for _, d := range cs.Devices {
		if err := oci.WithDevices(d.Host, d.Container, d.Permissions)(ctx, cl, c, spec); err != nil {
			return rejectf("device %s: %w", d.Host, err)
		}
	}
	if cs.Privileged {
		spec.Process.NoNewPrivileges = false
		return oci.Compose(oci.WithPrivileged, oci.WithCapabilities(all), oci.WithHostDevices, oci.WithAllDevicesAllowed)(ctx, cl, c, spec)
	}
	if !kernel.IsEnabled() {
		return rejectf("this node cannot keep containers from dangerous system calls: want a kernel with CONFIG_SECCOMP_FILTER, or --privileged")
	}
	if err := seccomp.WithDefaultProfile()(ctx, cl, c, spec); err != nil {
		return fmt.Errorf("seccomp profile: %w", err)
	}
	// Most kernels of Raspberry Pis have no AppArmor, or have it off. All that it forbids is forbidden by other means, too.
	if apparmor.HostSupports() {
		if err := profile.WithDefaultProfile(profileName)(ctx, cl, c, spec); err != nil {
			return fmt.Errorf("AppArmor: %w", err)
		}
	}
	return nil
}
