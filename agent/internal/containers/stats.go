package containers

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Usage is what a container uses.
type Usage struct {
	CPUNanos    uint64 // since its start
	MemoryBytes uint64 // without what the kernel can drop at once; 0 where it does not count
	MemoryLimit uint64 // 0: none
	Pids        uint64
}

// noLimit is what version 1 says where there is no limit: the largest number of whole pages.
const noLimit = 1 << 62

// Usage reads what a container uses from its group, without asking containerd.
func (r *Runtime) Usage(id string) (Usage, error) {
	if err := checkID(id); err != nil {
		return Usage{}, err
	}
	u, err := readUsage(cgroupRoot, r.cgroup(id))
	if err != nil {
		return u, fmt.Errorf("usage of container %s: %w", id, err)
	}
	return u, nil
}

func readUsage(root, group string) (Usage, error) {
	if readCgroups(root).v2 {
		dir := filepath.Join(root, group)
		cpu, err := lineOf(filepath.Join(dir, "cpu.stat"), "usage_usec")
		if err != nil {
			return Usage{}, notRunning(err)
		}
		u := Usage{CPUNanos: cpu * 1000, MemoryBytes: number(dir, "memory.current"), MemoryLimit: number(dir, "memory.max"), Pids: number(dir, "pids.current")}
		u.drop(filepath.Join(dir, "memory.stat"), "inactive_file")
		return u, nil
	}
	raw, err := os.ReadFile(filepath.Join(root, "cpuacct", group, "cpuacct.usage"))
	if err != nil {
		return Usage{}, notRunning(err)
	}
	var u Usage
	if u.CPUNanos, err = strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64); err != nil {
		return u, err
	}
	memory := filepath.Join(root, "memory", group)
	u.MemoryBytes, u.MemoryLimit = number(memory, "memory.usage_in_bytes"), number(memory, "memory.limit_in_bytes")
	u.Pids = number(filepath.Join(root, "pids", group), "pids.current")
	u.drop(filepath.Join(memory, "memory.stat"), "total_inactive_file")
	return u, nil
}

// notRunning says what a group that is missing means.
func notRunning(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("it does not run: %w", os.ErrNotExist)
	}
	return err
}

// drop takes from the memory in use the pages of files that nobody has used lately.
func (u *Usage) drop(file, key string) {
	if unused, err := lineOf(file, key); err == nil && unused < u.MemoryBytes {
		u.MemoryBytes -= unused
	}
	if u.MemoryLimit >= noLimit {
		u.MemoryLimit = 0
	}
}

// number reads a file that holds one; anything else, as max for no limit, is 0.
func number(dir, name string) uint64 {
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0
	}
	n, _ := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 64)
	return n
}

// lineOf reads the number behind a word in a file of such lines.
func lineOf(file, word string) (uint64, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if key, value, _ := strings.Cut(strings.TrimSpace(line), " "); key == word {
			return strconv.ParseUint(value, 10, 64)
		}
	}
	return 0, fmt.Errorf("%s has no %s", file, word)
}
