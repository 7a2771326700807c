package doctor

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// memoryCgroup looks for the kernel's part that can limit the memory of containers. Raspberry Pi OS switches it off.
func memoryCgroup(_ context.Context, m Machine) Finding {
	mode, on := "cgroup v1", m.exists("sys/fs/cgroup/memory/memory.limit_in_bytes")
	if controllers, err := m.read("sys/fs/cgroup/cgroup.controllers"); err == nil {
		mode, on = "cgroup v2", slices.Contains(strings.Fields(controllers), "memory")
	} else if m.exists("sys/fs/cgroup/unified/cgroup.controllers") {
		mode = "cgroup v1 and v2"
	}
	if on {
		return fine("%s", mode)
	}
	const problem, words = "memory limits do not work", "cgroup_enable=memory cgroup_memory=1"
	for _, file := range []string{"boot/firmware/cmdline.txt", "boot/cmdline.txt"} {
		line, err := m.read(file)
		switch {
		case err != nil:
		case strings.Contains(line, "cgroup_enable=memory"):
			return trouble(problem, "reboot, for /"+file+" has the words for it by now").noted("%s", mode)
		default:
			return trouble(problem, "add "+words+" to the line in /"+file+" and reboot").noted("%s", mode)
		}
	}
	return trouble(problem, "add "+words+" to the kernel's command line and reboot").noted("%s", mode)
}

func containerd(ctx context.Context, m Machine) Finding {
	version, err := m.Containerd(ctx)
	switch {
	case err == nil:
		return fine("version %s", version)
	case !m.Privileged:
		return fine("not looked at: needs root")
	case !m.exists("usr/bin/containerd") && !m.exists("usr/local/bin/containerd"):
		return trouble("containerd is not installed", "apt install containerd")
	}
	return trouble("containerd does not answer", "systemctl restart containerd, and see journalctl -u containerd").noted("%v", err)
}

// scratch is the name of the chain that rules are tried in. It is none of the agent's, which would see to its removal.
const scratch = "PSW-DOCTOR"

// trials are what piswarm's rules are made of.
var trials = []struct{ what, table, rule string }{
	{"statistic", "nat", "-m statistic --mode nth --every 2 --packet 0 -j RETURN"},
	{"addrtype", "nat", "-m addrtype --dst-type LOCAL -j RETURN"},
	{"comment", "nat", "-m comment --comment trial -j RETURN"},
	{"DNAT", "nat", "-p tcp -m tcp --dport 1 -j DNAT --to-destination 127.0.0.1:1"},
	{"conntrack", "mangle", "-m conntrack --ctstate NEW -j RETURN"},
	{"mac", "mangle", "-m mac --mac-source 02:00:00:00:00:01 -j RETURN"},
	{"CT", "raw", "-j CT --zone-orig 1"},
	{"connmark", "mangle", "-m connmark ! --mark 0x0/0xfff00000 -j CONNMARK --restore-mark --nfmask 0xfff00000 --ctmask 0xfff00000"},
}

// iptables tries each kind of rule in a chain that nothing leads to.
func iptables(ctx context.Context, m Machine) Finding {
	version, err := m.Run(ctx, "iptables", "--version")
	if err != nil {
		return trouble("iptables is missing", "apt install iptables").noted("%v", err)
	}
	version = strings.TrimSpace(version)
	if !m.Privileged {
		return fine("%s, not tried: needs root", version)
	}
	try := func(table string, args ...string) error {
		_, err := m.Run(ctx, "iptables", append([]string{"-w", "5", "-t", table}, args...)...)
		return err
	}
	clear := func(table string) {
		_ = try(table, "-F", scratch) // it may not be there
		_ = try(table, "-X", scratch)
	}
	var missing []string
	var last error
	for _, table := range []string{"nat", "raw", "mangle"} {
		clear(table) // an examination that was killed leaves it
		if err := try(table, "-N", scratch); err != nil {
			return trouble("iptables does not work", "use a kernel with netfilter; try iptables -t "+table+" -L").noted("%v", err)
		}
		for _, t := range trials {
			if t.table != table {
				continue
			}
			if err := try(table, append([]string{"-A", scratch}, strings.Fields(t.rule)...)...); err != nil {
				missing, last = append(missing, t.what), err
			}
		}
		clear(table)
	}
	if len(missing) > 0 {
		return trouble("iptables cannot do "+strings.Join(missing, ", "),
			"install the kernel's modules that belong to the running kernel (reboot after an upgrade)").noted("%v", last)
	}
	return fine("%s", version)
}

// owned are the ports that every node answers on: gossip, the node API, the page.
var owned = map[string]string{"1F0A": "7946", "1F0B": "7947", "1F0C": "7948"}

// ports looks for other programs on the ports of the agent.
func ports(_ context.Context, m Machine) Finding {
	taken := map[string]string{} // by inode of the socket, the port
	for _, file := range []string{"tcp", "tcp6", "udp", "udp6"} {
		text, _ := m.read("proc/net/" + file) // without IPv6 there is no such file
		for line := range strings.Lines(text) {
			f := strings.Fields(line)
			// The fields are: number, local, remote, state (0A: listens), three of queues and timers, user, timeout, inode.
			if len(f) < 10 || strings.HasPrefix(file, "tcp") && f[3] != "0A" {
				continue
			}
			_, port, _ := strings.Cut(f[1], ":")
			if name, ok := owned[port]; ok {
				taken[f[9]] = name
			}
		}
	}
	if len(taken) == 0 {
		return fine("free")
	}
	if !m.Privileged {
		return fine("not looked at who has them: needs root")
	}
	for _, fd := range m.glob("proc/[0-9]*/fd/*") {
		link, err := os.Readlink(m.path(fd))
		inode, ok := strings.CutPrefix(link, "socket:[")
		if err != nil || !ok {
			continue
		}
		port, ok := taken[strings.TrimSuffix(inode, "]")]
		if !ok {
			continue
		}
		process := filepath.Dir(filepath.Dir(fd))
		if name := m.value(filepath.Join(process, "comm")); name != "piswarm" {
			return trouble("port "+port+" is taken by "+name, "stop "+name+", or let it use another port, and restart piswarm").
				noted("process %s", filepath.Base(process))
		}
	}
	return fine("the agent has them")
}
