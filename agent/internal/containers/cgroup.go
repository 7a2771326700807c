package containers

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroupFacts is what this kernel's control groups can do.
type cgroupFacts struct {
	v2     bool // all controllers are in the one tree of version 2; false for version 1 and the mix of both
	memory bool // memory can be limited; Raspberry Pi OS has that switched off
	swap   bool // swap can be limited
	pids   bool // the number of processes can be limited
}

// readCgroups looks at the hierarchies mounted below root, which is /sys/fs/cgroup outside of tests.
func readCgroups(root string) cgroupFacts {
	exists := func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	}
	if controllers, err := os.ReadFile(filepath.Join(root, "cgroup.controllers")); err == nil {
		has := func(name string) bool { return slices.Contains(strings.Fields(string(controllers)), name) }
		memory := has("memory")
		return cgroupFacts{v2: true, memory: memory, swap: memory && exists("/proc/swaps"), pids: has("pids")}
	}
	return cgroupFacts{
		memory: exists(filepath.Join(root, "memory/memory.limit_in_bytes")),
		swap:   exists(filepath.Join(root, "memory/memory.memsw.limit_in_bytes")),
		pids:   exists(filepath.Join(root, "pids/cgroup.procs")),
	}
}

// hierarchies are the directories below root that have a tree of groups each: root itself with version 2.
func hierarchies(root string) []string {
	if readCgroups(root).v2 {
		return []string{root}
	}
	all, _ := filepath.Glob(filepath.Join(root, "*"))
	return all
}

// oomKilled asks a container's group, which stays until the container is removed, whether the kernel killed one
// of its processes for want of memory. So the answer needs no event to have been seen.
func oomKilled(root, group string) bool {
	for _, file := range []string{
		filepath.Join(root, group, "memory.events"),
		filepath.Join(root, "memory", group, "memory.oom_control"),
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
				return strings.TrimSpace(n) != "0"
			}
		}
	}
	return false
}
