// Package lab runs virtual Raspberry Pis on one Linux machine.
//
// A virtual Pi is a set of namespaces (process, mount, network, host name, IPC, cgroup) with an init of its own,
// which starts containerd and `piswarm agent` with their default configuration and paths and starts them again
// when they die, as systemd does on a real Pi. The Pis and a computer named laptop share a LAN. A Pi can lose
// its power and its network cable at any instant, and its disk outlives both. It can shut down in good order, lose
// packets, come back with another address or start from a copy of another's disk; the LAN can fall into parts.
//
//	l, err := lab.Start(ctx, lab.Options{Nodes: 3, Binary: "build/piswarm", Token: token})
//	defer l.Close()
//	code, err := l.Exec(ctx, "pi1", []string{"piswarm", "status"}, lab.Stdio{Out: os.Stdout})
//	err = l.PowerOff("pi2")
//
// A [Lab] lives in the process that started it. [Serve] and [Connect] let other processes use it.
//
// # How it is built
//
//   - The owner, the process that calls [Start], makes a LAN: a bridge in a network namespace that nothing but an
//     open file keeps alive.
//   - A host is the piswarm binary started as `piswarm lab init` ([InitMain]) in new namespaces. It lays an overlay
//     over the machine's own root file system, so that whatever happens on the host is written to the lab's
//     directory, and becomes the host's process 1.
//   - [Lab.Exec] enters those namespaces from outside; nothing in the host has to answer for it.
//   - `piswarm lab sweep` ([SweepMain]) waits for the owner's end, however it comes, and removes what the kernel
//     does not remove by itself: cgroups and files. The hosts die with the owner, for each holds a socket that
//     ends with it.
//
// # What it must not touch
//
// The machine's own network (links, addresses, routes, rules, sysctls), its mounts, and any file outside the lab's
// directory. The hosts see /sys and everything in /proc/sys but the network's own settings read-only. The
// package knows nothing of clusters or services: to it, the agent is a program that answers on a socket.
package lab
