// Package doctor examines the machine that a node is: what a Raspberry Pi suffers from (a weak power supply, a dying
// card, a Wi-Fi that sleeps) and what piswarm needs of it (the memory cgroup, iptables, containerd, its ports).
//
// It only looks. The one thing that it makes, a scratch chain to try iptables with, it takes away again, and only the
// whole examination does so. It knows nothing of an agent, and works where none runs.
//
// Every check is a function of a [Machine]. The cheap ones read a few files and start nothing; those are also the
// warnings of a node's report, by way of a [Monitor].
package doctor

import (
	"context"
	"fmt"
	"time"
)

// Finding is the answer of one check.
type Finding struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	// Problem says what is wrong, and Fix what to do about it. Both are the same as long as the trouble is.
	Problem string `json:"problem,omitempty"`
	Fix     string `json:"fix,omitempty"`
	// Note is what was seen in figures, or why it could not be looked at.
	Note string `json:"note,omitempty"`
}

func fine(format string, args ...any) Finding {
	return Finding{OK: true, Note: fmt.Sprintf(format, args...)}
}

func trouble(problem, fix string) Finding { return Finding{Problem: problem, Fix: fix} }

// noted adds figures to a finding.
func (f Finding) noted(format string, args ...any) Finding {
	f.Note = fmt.Sprintf(format, args...)
	return f
}

// check is one look at the machine.
type check struct {
	name  string
	cheap bool // reads a few files, and starts nothing
	look  func(context.Context, Machine) Finding
}

// checks are all, in the order in which they are told: what keeps a node from working at all comes first.
var checks = []check{
	{"memory cgroup", true, memoryCgroup},
	{"containerd", false, containerd},
	{"iptables", false, iptables},
	{"ports", false, ports},
	{"forwarding", true, forwarding},
	{"connections", true, connections},
	{"dropped packets", false, droppedPackets},
	{"mDNS", false, mDNS},
	{"Wi-Fi", false, wifi},
	{"power", true, power},
	{"temperature", true, temperature},
	{"file systems", true, fileSystems},
	{"SD card", false, card},
	{"disk space", true, diskSpace},
	{"memory", true, freeMemory},
	{"swap", false, swap},
	{"clock", true, clock},
}

// limit bounds a whole examination. Each command and dial in it is bounded by itself.
const limit = time.Minute

// Examine looks at everything.
func Examine(ctx context.Context, m Machine) []Finding {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var all []Finding
	for _, c := range checks {
		f := c.look(ctx, m)
		f.Check = c.name
		all = append(all, f)
	}
	return all
}
