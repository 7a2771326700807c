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
	"time"
)

// machineState is what a lab could leave behind on this machine.
type machineState struct {
	processes []string // of this program
	cgroups   []string // of this package's labs
	mounts    string
	network   string
}

func takeInventory(t *testing.T) machineState {
	t.Helper()
	var s machineState
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range processes {
		if line, err := os.ReadFile(dir + "/cmdline"); err == nil {
			for _, mine := range []string{"piswarm\x00lab", self + "\x00lab", "stand-in-agent"} {
				if bytes.Contains(line, []byte(mine)) {
					s.processes = append(s.processes, dir+" "+strings.ReplaceAll(string(line), "\x00", " "))
				}
			}
		}
	}
	c, err := findCgroups("x")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range c.dirs() {
		labs, err := filepath.Glob(filepath.Join(filepath.Dir(dir), "piswarm-lab-*"))
		if err != nil {
			t.Fatal(err)
		}
		s.cgroups = append(s.cgroups, labs...)
	}
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	// Tests of other packages mount and unmount at the same time; what a lab mounts bears one of these.
	for line := range strings.Lines(string(mounts)) {
		for _, mine := range []string{" - overlay ", "/pi1/", oldRoot, diskDirs[0]} {
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

// differences says what there is in s that was not there before.
func (s machineState) differences(before machineState) []string {
	var diff []string
	for _, p := range s.processes {
		if !slices.Contains(before.processes, p) {
			diff = append(diff, "process "+p)
		}
	}
	for _, c := range s.cgroups {
		if !slices.Contains(before.cgroups, c) {
			diff = append(diff, "cgroup "+c)
		}
	}
	if s.mounts != before.mounts {
		diff = append(diff, fmt.Sprintf("mounts:\n%s\nwere\n%s", s.mounts, before.mounts))
	}
	if s.network != before.network {
		diff = append(diff, fmt.Sprintf("network:\n%s\nwas\n%s", s.network, before.network))
	}
	return diff
}

// awaitInventory waits until nothing is left that was not there before, and no directory.
func awaitInventory(t *testing.T, before machineState, dir string) {
	t.Helper()
	var diff []string
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		diff = takeInventory(t).differences(before)
		if _, err := os.Stat(dir); err == nil {
			diff = append(diff, "directory "+dir)
		}
		if len(diff) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind:\n%s", strings.Join(diff, "\n"))
		}
	}
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
