package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/serf/serf"

	"github.com/piswarm/piswarm/agent/internal/gossip"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// memberCommand starts this program as two bare gossip members on one virtual Pi: piswarm's, and serf with what it
// and memberlist come with. They see the same network at the same time. Its arguments are its ID and the addresses of
// all, its own first. It prints a line whenever one of the two sees another member change.
const memberCommand = "member"

// The two and their ports.
const (
	ours, stock         = "piswarm", "stock"
	oursPort, stockPort = 7946, 7950
)

// sight is one line: what a member sees of another from a moment on.
type sight struct {
	by, variant, of string
	condition       cluster.Condition
	at              time.Time
}

// serveMember runs until it is killed.
func serveMember(ctx context.Context, args []string, out io.Writer) error {
	if len(args) < 2 {
		return fmt.Errorf("want an ID and addresses")
	}
	var all []netip.Addr
	for _, text := range args[1:] {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return err
		}
		all = append(all, a)
	}
	var mu sync.Mutex
	say := func(variant string) func(string, cluster.Condition) {
		return func(of string, c cluster.Condition) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(out, variant, of, c, time.Now().UnixNano())
		}
	}
	done := make(chan error, 2)
	go func() { done <- serveOurs(ctx, args[0], all, say(ours)) }()
	go func() { done <- serveStock(ctx, args[0], all, say(stock)) }()
	return <-done
}

func serveOurs(ctx context.Context, id string, all []netip.Addr, say func(string, cluster.Condition)) error {
	g, err := gossip.Start(gossip.Config{
		ID: id, Name: id, Key: bytes.Repeat([]byte{1}, 32), Address: all[0], Port: oursPort,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer g.Close()
	last := map[string]cluster.Condition{}
	return watch(ctx, g.Changed(), len(all), func() int {
		members := g.Members()
		for _, m := range members {
			if last[m.ID] != m.Condition {
				last[m.ID] = m.Condition
				say(m.ID, m.Condition)
			}
		}
		return len(members)
	}, func() {
		for _, a := range all[1:] {
			g.Join([]netip.AddrPort{netip.AddrPortFrom(a, oursPort)}) // the next round tries again
		}
	})
}

func serveStock(ctx context.Context, id string, all []netip.Addr, say func(string, cluster.Condition)) error {
	conf := serf.DefaultConfig()
	conf.Init()
	conf.NodeName = id
	conf.Logger = log.New(io.Discard, "", 0)
	conf.LogOutput = nil
	ml := conf.MemberlistConfig
	ml.LogOutput, ml.Logger = nil, conf.Logger
	ml.BindPort, ml.AdvertisePort, ml.AdvertiseAddr = stockPort, stockPort, all[0].String()
	ml.SecretKey = bytes.Repeat([]byte{1}, 32)
	events := make(chan serf.Event, 1000)
	conf.EventCh = events
	s, err := serf.Create(conf)
	if err != nil {
		return err
	}
	defer s.Shutdown()
	changed := make(chan struct{}, 1)
	go func() {
		for range events {
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	}()
	last := map[string]cluster.Condition{}
	return watch(ctx, changed, len(all), func() int {
		members := s.Members()
		for _, m := range members {
			condition := cluster.Down
			if m.Status == serf.StatusAlive {
				condition = cluster.Ready
			}
			if last[m.Name] != condition {
				last[m.Name] = condition
				say(m.Name, condition)
			}
		}
		return len(members)
	}, func() {
		for _, a := range all[1:] {
			s.Join([]string{netip.AddrPortFrom(a, stockPort).String()}, true) // the next round tries again
		}
	})
}

// watch looks after every change, and joins the others as long as not all of them are known.
func watch(ctx context.Context, changed <-chan struct{}, want int, look func() int, join func()) error {
	for {
		if look() < want {
			join()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// parseSight reads a line of a member.
func parseSight(by, line string) (sight, error) {
	var s sight
	var nanoseconds int64
	_, err := fmt.Sscan(strings.TrimSpace(line), &s.variant, &s.of, &s.condition, &nanoseconds)
	s.by, s.at = by, time.Unix(0, nanoseconds)
	return s, err
}

// serveMemberAndExit is main for the members.
func serveMemberAndExit() {
	if err := serveMember(context.Background(), os.Args[2:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench: member:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
