package lab

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// machineState is what the labs of one process could leave behind on this machine. Others may run at the same time.
type machineState struct {
	processes []string
	cgroups   []string
	mounts    string
	network   string
}

// takeInventory looks for what belongs to the labs of a process and to the lab with a directory.
func takeInventory(t *testing.T, owner int, dir string) machineState {
	t.Helper()
	var s machineState
	mark := fmt.Sprintf("piswarm-lab-%d-", owner)
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		// Processes come and go; what has gone is not left behind.
		groups, _ := os.ReadFile(p + "/cgroup")
		line, _ := os.ReadFile(p + "/cmdline")
		if bytes.Contains(groups, []byte(mark)) || bytes.Contains(line, []byte("sweep\x00"+dir)) {
			s.processes = append(s.processes, p+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	c, err := findCgroups("x")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range c.dirs() {
		labs, err := filepath.Glob(filepath.Join(filepath.Dir(d), mark+"*"))
		if err != nil {
			t.Fatal(err)
		}
		s.cgroups = append(s.cgroups, labs...)
	}
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	// Tests of other packages mount and unmount at the same time; a line of what a lab mounts has one of these.
	for line := range strings.Lines(string(mounts)) {
		for _, mine := range []string{dir, oldRoot, hostLogDir} {
			if strings.Contains(line, mine) {
				s.mounts += line
				break
			}
		}
	}
	for _, command := range []string{"ip -o link", "ip -o addr", "ip route", "ip rule", "iptables-save | grep -v '^[#:]'", "ls /run/netns", "sysctl -a 2>/dev/null | grep -E '^net\\.(ipv4\\.ip_forward|bridge)'"} {
		out, _ := exec.Command("sh", "-c", command).CombinedOutput()
		s.network += string(out)
	}
	return s
}

// left says what of a lab is there that ended, and what is not as it was before.
func left(t *testing.T, before machineState, owner int, dir string) string {
	t.Helper()
	s := takeInventory(t, owner, dir)
	var found []string
	for _, p := range s.processes {
		found = append(found, "process "+p)
	}
	for _, c := range s.cgroups {
		found = append(found, "cgroup "+c)
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		found = append(found, fmt.Sprintf("files %v in %s", entries, dir))
	}
	return strings.Join(append(found, s.changes(before)...), "\n")
}

// changes says what of the machine itself is not as it was.
func (s machineState) changes(before machineState) []string {
	var found []string
	if s.mounts != before.mounts {
		found = append(found, fmt.Sprintf("mounts:\n%s\nwere\n%s", s.mounts, before.mounts))
	}
	if s.network != before.network {
		found = append(found, fmt.Sprintf("network:\n%s\nwas\n%s", s.network, before.network))
	}
	return found
}

// networkNamespaces are those of a lab's hosts and its LAN.
func networkNamespaces(t *testing.T, l *Lab) []string {
	t.Helper()
	links := []string{fmt.Sprintf("/proc/self/fd/%d", l.lan.ns.Fd())}
	for _, h := range l.List() {
		links = append(links, fmt.Sprintf("/proc/%d/ns/net", h.PID))
	}
	var all []string
	for _, link := range links {
		name, err := os.Readlink(link)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(all, name) {
			t.Errorf("two hosts share %s", name)
		}
		all = append(all, name)
	}
	return all
}

// inUse tells which of some namespaces a process lives in, has open or has mounted.
func inUse(t *testing.T, namespaces []string) []string {
	t.Helper()
	var used []string
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"/proc/[0-9]*/ns/net", "/proc/[0-9]*/fd/*"} {
		links, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range links {
			// Processes come and go.
			if name, err := os.Readlink(link); err == nil && slices.Contains(namespaces, name) {
				used = append(used, link)
			}
		}
	}
	for _, name := range namespaces {
		if bytes.Contains(mounts, []byte(name)) {
			used = append(used, "a mount of "+name)
		}
	}
	return used
}
