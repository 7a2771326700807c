package containers

import (
	"os"
	"slices"

	"github.com/containerd/containerd/v2/pkg/cap"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// defaultCapabilities are docker's without NET_RAW, by which one container can pretend to be another on the
// network (ping works without, see setNetwork), and MKNOD, by which it can make device nodes.
var defaultCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP",
	"CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

// capabilities are the default ones with add and without drop, as docker reads the two: adding ALL and dropping
// some leaves the rest, dropping ALL and adding some leaves these. all are those that ALL stands for.
func capabilities(add, drop, all []string) []string {
	var caps []string
	switch {
	case slices.Contains(add, cluster.AllCapabilities):
		caps = slices.Clone(all)
		add = nil
	case slices.Contains(drop, cluster.AllCapabilities):
		drop = nil
	default:
		caps = slices.Clone(defaultCapabilities)
	}
	for _, name := range add {
		name = capabilityName(name)
		if !slices.Contains(caps, name) {
			caps = append(caps, name)
		}
	}
	return slices.DeleteFunc(caps, func(name string) bool {
		return slices.ContainsFunc(drop, func(d string) bool { return capabilityName(d) == name })
	})
}

// capabilityName gives a name its full form. A name that is none stays what it is, for runc to refuse: the words
// of the cluster were checked long before.
func capabilityName(name string) string {
	if full, err := cluster.NormalizeCapability(name); err == nil {
		return full
	}
	return name
}

// machineCapabilities are those that the machine's first process has. Not all that there are: this machine may itself be a
// container, and cannot give what it does not have. Nor the agent's own, which are few: containers are not its children.
func machineCapabilities() ([]string, error) {
	f, err := os.Open("/proc/1/status")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sets, err := cap.ParseProcPIDStatus(f)
	if err != nil {
		return nil, err
	}
	names, _ := cap.FromBitmap(sets[cap.Bounding])
	return names, nil
}
