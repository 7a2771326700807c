// Package ingress is the loop that makes every node answer for every service: it turns plans, reports and the
// membership into routes, packet filter rules and names, and hands each of them as a whole to its adapter.
//
// A backend leaves on whichever comes first of the plan without it, the report without it, and the membership
// event that its node is down; nothing waits for a new placement.
package ingress

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/piswarm/piswarm/agent/internal/dns"
	"github.com/piswarm/piswarm/agent/internal/loop"
	"github.com/piswarm/piswarm/agent/internal/network"
	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/loadbalance"
	"github.com/piswarm/piswarm/pkg/state"
)

// Network is the kernel's network.
type Network interface {
	Apply(context.Context, network.Wanted) error
	Tune(ctx context.Context, lan string) error
	FlushConntrack(context.Context, []network.Backend) error
	FlushFinished(context.Context, []netip.Addr) error
	FlushUnled(context.Context, []uint16) error
	SweepConntrack(ctx context.Context, pool netip.Prefix, live map[netip.Addr]bool) error
}

// Firewall is the packet filter.
type Firewall interface {
	Apply(context.Context, loadbalance.Ruleset) error
	Repair(context.Context) (repaired bool, err error)
}

// Names is the containers' DNS.
type Names interface {
	Set([]dns.Service)
}

// Config of the loop.
type Config struct {
	Store    *state.Store
	View     func() view.View
	Place    func() Place
	Members  <-chan struct{} // signalled when the membership or the place changes
	Network  Network
	Firewall Firewall
	Names    Names
	Watchdog *loop.Watchdog // may be nil
	Log      *slog.Logger
}

const (
	// resync is how often the loop looks without being woken.
	resync = 10 * time.Second
	// forgetEvery is how often the ended connections to tasks that end are forgotten. Those under way when a task begins
	// to end have ended later, and it may take its time. A client goes through its ports, 28,000 by Linux's default,
	// before it takes one again, for which even a busy one needs longer than this.
	forgetEvery = time.Second
)

// Ingress is the loop.
type Ingress struct {
	cfg   Config
	once  sync.Once
	ready chan struct{}

	mu              sync.Mutex
	released        []string
	releasedChanged loop.Trigger

	planner loadbalance.Planner
	again   loop.Trigger // set when it is time to forget ended connections once more
	timer   *time.Timer  // sets it

	// What the last pass led connections to.
	backends map[network.Backend]bool
	alive    map[netip.Addr]bool
	ending   map[netip.Addr]bool
	endedAt  time.Time // when ended connections were forgotten last
	udp      map[uint16]bool
	tuned    string
	last     network.Wanted
	lastAt   time.Time // zero: not applied yet
	swept    bool      // what was led somewhere before this agent's life is forgotten
}

// New returns the loop.
func New(cfg Config) *Ingress {
	i := &Ingress{cfg: cfg, ready: make(chan struct{}), releasedChanged: loop.NewTrigger(), again: loop.NewTrigger()}
	i.timer = time.AfterFunc(time.Hour, i.again.Set)
	i.timer.Stop()
	return i
}

// Ready is closed when the bridge and the rules are there for the first time.
func (i *Ingress) Ready() <-chan struct{} { return i.ready }

// Released lists, sorted, the tasks that run without being planned any more, on any node, and that the rules last
// applied here lead no new connection to. Those of a node that is not ready are left out: nobody there listens.
func (i *Ingress) Released() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.released)
}

// ReleasedChanged delivers something when Released has another answer. It is for one receiver.
func (i *Ingress) ReleasedChanged() <-chan struct{} { return i.releasedChanged }

// release notes what the rules lead nothing to. After rules that failed half way, that is only what neither the
// former ones nor the new ones lead to.
func (i *Ingress) release(ids []string, applied bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !applied {
		ids = slices.DeleteFunc(slices.Clone(i.released), func(id string) bool { return !slices.Contains(ids, id) })
	}
	if !slices.Equal(ids, i.released) {
		i.released = ids
		i.releasedChanged.Set()
	}
}

// Run keeps the ingress as it should be until ctx ends. It leaves it as it is then: containers answer on while
// the agent restarts.
func (i *Ingress) Run(ctx context.Context) error {
	dirty, cancel := i.cfg.Store.Watch(state.Kinds(
		cluster.KindService, cluster.KindPlan, cluster.KindReport, cluster.KindNode, cluster.KindCluster))
	defer cancel()
	defer i.timer.Stop()
	return loop.Loop{
		Name: "ingress", Wake: []<-chan struct{}{dirty, i.cfg.Members, i.again}, Resync: resync, Pass: i.pass,
		Watchdog: i.cfg.Watchdog, Log: i.cfg.Log,
	}.Run(ctx)
}

// pass brings everything to what is wanted. A backend that is gone leaves with the first process that starts, and no
// step waits for another's success: what fails here is tried again, and what does not is done.
func (i *Ingress) pass(ctx context.Context) error {
	here := i.cfg.Place()
	want := plan(i.cfg.View(), here)
	// A new way comes before the rules that lead there. Otherwise routes are looked at when the rules are done.
	moved := !equal(i.last, want.network)
	var ways error
	if moved {
		ways = i.applyNetwork(ctx, want.network)
	}
	rules := i.cfg.Firewall.Apply(ctx, i.planner.Plan(want.rules))
	forgotten := i.forget(ctx, want, rules == nil)
	i.release(want.released, rules == nil && forgotten == nil)
	i.cfg.Names.Set(want.names)
	// Every now and then the network is applied all the same: the kernel drops the routes of a Wi-Fi that went away
	// for a moment.
	if !moved && time.Since(i.lastAt) >= resync/2 {
		ways = i.applyNetwork(ctx, want.network)
	}
	if ways == nil && rules == nil {
		i.once.Do(func() { close(i.ready) })
	}
	return errors.Join(ways, rules, forgotten, i.tune(ctx, here.LAN.Interface, rules == nil), i.repair(ctx))
}

// applyNetwork makes the ways to all peers.
func (i *Ingress) applyNetwork(ctx context.Context, want network.Wanted) error {
	i.last, i.lastAt = network.Wanted{}, time.Time{} // half of it may have been done
	if err := i.cfg.Network.Apply(ctx, want); err != nil {
		return err
	}
	i.last, i.lastAt = want, time.Now()
	return nil
}

// tune sets the kernel's settings, once for each LAN interface. The rules guard what they open.
func (i *Ingress) tune(ctx context.Context, lan string, guarded bool) error {
	if !guarded || i.tuned == lan && lan != "" {
		return nil
	}
	if err := i.cfg.Network.Tune(ctx, lan); err != nil {
		return err
	}
	i.tuned = lan
	return nil
}

// repair brings back rules that another program has taken away.
func (i *Ingress) repair(ctx context.Context) error {
	repaired, err := i.cfg.Firewall.Repair(ctx)
	if repaired && err == nil {
		i.cfg.Log.Warn("another program removed rules of piswarm's from the packet filter; they are back")
	}
	return err
}

func equal(a, b network.Wanted) bool {
	if a.Interface != b.Interface || a.Subnet != b.Subnet || a.Pool != b.Pool || a.VirtualIPs != b.VirtualIPs || len(a.Peers) != len(b.Peers) {
		return false
	}
	for i := range a.Peers {
		if a.Peers[i] != b.Peers[i] {
			return false
		}
	}
	return true
}

// forget makes the kernel forget the connections to what is gone. As long as that, or the change of the rules, did
// not succeed, what was led where stays remembered for the next pass.
func (i *Ingress) forget(ctx context.Context, want wanted, applied bool) error {
	var errs []error
	if gone := i.gone(want); len(gone) > 0 {
		errs = append(errs, i.cfg.Network.FlushConntrack(ctx, gone))
	}
	// Once the rules lead nothing new there: a connection that ends now and whose port is taken again is led elsewhere.
	now := time.Now()
	if ending := i.endingNow(want, now); applied && len(ending) > 0 {
		errs = append(errs, i.cfg.Network.FlushFinished(ctx, ending))
		i.endedAt = now
	}
	if len(want.ending) > 0 {
		i.timer.Reset(forgetEvery)
	}
	// Likewise, datagrams that keep coming are led on from now on.
	if opened := i.opened(want); applied && len(opened) > 0 {
		errs = append(errs, i.cfg.Network.FlushUnled(ctx, opened))
	}
	if !i.swept && applied && want.complete {
		err := i.cfg.Network.SweepConntrack(ctx, want.network.Pool, want.live())
		i.swept = err == nil
		errs = append(errs, err)
	}
	err := errors.Join(errs...)
	if err == nil && applied {
		i.backends, i.alive, i.ending, i.udp = want.backends, want.alive, want.ending, want.udp
	}
	return err
}

// endingNow are the containers that are about to stop, as far as it is time to forget the ended connections to them: at
// once when they begin to end, then again and again.
func (i *Ingress) endingNow(want wanted, now time.Time) []netip.Addr {
	var ending []netip.Addr
	for a := range want.ending {
		if !i.ending[a] || now.Sub(i.endedAt) >= forgetEvery {
			ending = append(ending, a)
		}
	}
	return ending
}

// opened are the UDP ports that lead somewhere, and did not at the last pass.
func (i *Ingress) opened(want wanted) []uint16 {
	var opened []uint16
	for p := range want.udp {
		if !i.udp[p] {
			opened = append(opened, p)
		}
	}
	return opened
}

// gone are the connections for the kernel to forget. UDP has no end: a client that keeps sending from one port
// would reach a backend for as long as it does, so it is moved on as soon as the backend gets no new ones. A TCP
// connection may finish as long as its container lives.
func (i *Ingress) gone(want wanted) []network.Backend {
	var gone []network.Backend
	for a := range i.alive {
		if !want.alive[a] {
			gone = append(gone, network.Backend{Address: netip.AddrPortFrom(a, 0)})
		}
	}
	for b := range i.backends {
		if b.Protocol == cluster.UDP && !want.backends[b] && want.alive[b.Address.Addr()] {
			gone = append(gone, b)
		}
	}
	return gone
}
