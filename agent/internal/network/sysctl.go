package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sysctl is a kernel setting, and how it may be changed.
type sysctl struct {
	name  string // below /proc/sys
	value uint64
	only  change
	// optional settings are missing without a kernel module, or belong to the machine's first network
	// namespace alone. There piswarm goes without.
	optional bool
}

type change int

const (
	set   change = iota // to this value
	raise               // to at least this value
	lower               // to at most this value
)

// Tune sets what the kernel needs to be told, where it is different. The firewall must have been applied: it
// guards what these settings open, and it makes the kernel load the connection tracking that they are about.
func (n *Network) Tune(ctx context.Context, lan string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	settings := append(forwarding(n.config.Bridge), conntrack(memory())...)
	if lan != "" {
		settings = append(settings, forwarding(lan)...)
	}
	return n.inside(func() error {
		var errs []error
		for _, s := range settings {
			errs = append(errs, s.write())
		}
		return errors.Join(errs...)
	})
}

// forwarding is what lets packets pass between an interface and the containers. rp_filter stays as it is:
// piswarm works with any.
func forwarding(link string) []sysctl {
	conf := "net/ipv4/conf/"
	// The kernel writes some of these anew whenever ip_forward changes, so that comes first.
	return []sysctl{
		{name: "net/ipv4/ip_forward", value: 1},
		// Connections from localhost leave for containers; see the firewall's guard of 127.0.0.0/8.
		{name: conf + link + "/route_localnet", value: 1},
		// A node forwards to another one on the same LAN on purpose. Were it to tell the sender the shorter
		// way, replies would pass by the node that has to translate them. The kernel sends redirects if either
		// of the two says so.
		{name: conf + "all/send_redirects", value: 0},
		{name: conf + link + "/send_redirects", value: 0},
		{name: conf + link + "/accept_redirects", value: 0},
	}
}

// disableIPv6 keeps the node, whose namespace the thread is in, from speaking IPv6 on an interface. The pod network is
// IPv4; but an interface has an address of IPv6 by itself, at which containers would reach what the packet filter keeps
// them from.
func disableIPv6(link string) error {
	err := sysctl{name: "net/ipv6/conf/" + link + "/disable_ipv6", value: 1}.write()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the kernel has none
	}
	return err
}

// conntrack says how many connections the kernel can remember, and for how long it does.
//
// A connection that has ended is remembered for 120 s. A Pi with 512 MB and a 32-bit kernel has place for
// 512 MiB / 16 KiB / 4 bytes = 8192 by default, which is 8192 / 120 s = 68 new connections a second, and then
// the kernel drops packets. An entry takes about 320 bytes. One for every 8 KiB of memory is 65536, at most
// 320 / 8192 = 4 % of the memory; with 30 s, which still is half of what TCP wants for a segment to be lost for
// good, 65536 / 30 s = 2184 connections a second.
func conntrack(memory uint64) []sysctl {
	entries := min(max(memory/(8<<10), 32<<10), 512<<10)
	return []sysctl{
		{name: "net/netfilter/nf_conntrack_max", value: entries, only: raise, optional: true},
		// Half as many buckets: an entry is in two lists, so a list has four entries when all is full.
		{name: "net/netfilter/nf_conntrack_buckets", value: entries / 2, only: raise, optional: true},
		{name: "net/netfilter/nf_conntrack_tcp_timeout_time_wait", value: 30, only: lower, optional: true},
		// A side that has gone without a word is remembered for five days by default. TCP's own keep-alive asks
		// after two hours, so after a day nobody is there.
		{name: "net/netfilter/nf_conntrack_tcp_timeout_established", value: 86400, only: lower, optional: true},
	}
}

// memory is how much the node has.
func memory() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return uint64(info.Totalram) * uint64(info.Unit)
}

// write applies the setting to the network namespace of the thread.
func (s sysctl) write() error { return s.apply("/proc/sys/") }

// apply writes the setting if it has to change.
func (s sysctl) apply(root string) error {
	path := root + s.name
	text, err := os.ReadFile(path)
	if s.optional && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read kernel setting: %w", err)
	}
	have, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return fmt.Errorf("read kernel setting %s: %w", s.name, err)
	}
	switch {
	case have == s.value, s.only == raise && have > s.value, s.only == lower && have < s.value:
		return nil
	}
	err = os.WriteFile(path, []byte(strconv.FormatUint(s.value, 10)), 0o644)
	if s.optional && (errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write kernel setting: %w", err)
	}
	return nil
}
