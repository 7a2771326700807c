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
}

// Firewall is the packet filter.
type Firewall interface {
	Apply(context.Context, loadbalance.Ruleset) error
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
	Log      *slog.Logger
}

// resync is how often the loop looks without being woken.
const resync = 10 * time.Second

// Ingress is the loop.
type Ingress struct {
	cfg   Config
	once  sync.Once
	ready chan struct{}

	mu              sync.Mutex
	released        []string
	releasedChanged loop.Trigger

	// What the last pass led connections to.
	backends map[network.Backend]bool
	alive    map[netip.Addr]bool
	tuned    string
	last     network.Wanted
	lastAt   time.Time // zero: not applied yet
}

// New returns the loop.
func New(cfg Config) *Ingress {
	return &Ingress{cfg: cfg, ready: make(chan struct{}), releasedChanged: loop.NewTrigger()}
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
	return loop.Loop{
		Name: "ingress", Wake: []<-chan struct{}{dirty, i.cfg.Members}, Resync: resync, Pass: i.pass, Log: i.cfg.Log,
	}.Run(ctx)
}

func (i *Ingress) pass(ctx context.Context) error {
	here := i.cfg.Place()
	want := plan(i.cfg.View(), here)
	if err := i.applyNetwork(ctx, want.network); err != nil {
		return err
	}
	if err := i.cfg.Firewall.Apply(ctx, loadbalance.Plan(want.rules)); err != nil {
		i.release(want.released, false)
		return err
	}
	i.cfg.Names.Set(want.names)
	var errs []error
	if i.tuned != here.LAN.Interface || here.LAN.Interface == "" {
		err := i.cfg.Network.Tune(ctx, here.LAN.Interface)
		errs = append(errs, err)
		if err == nil {
			i.tuned = here.LAN.Interface
		}
	}
	if gone := i.gone(want); len(gone) > 0 {
		if err := i.cfg.Network.FlushConntrack(ctx, gone); err != nil {
			i.release(want.released, false)
			return errors.Join(append(errs, err)...) // the next pass tries again: what was led where stays remembered
		}
	}
	i.backends, i.alive = want.backends, want.alive
	i.release(want.released, true)
	i.once.Do(func() { close(i.ready) })
	return errors.Join(errs...)
}

// applyNetwork applies what differs from the last time, so that a change of backends costs no look at routes.
// Every now and then it applies all the same: the kernel drops the routes of a Wi-Fi that went away for a moment.
func (i *Ingress) applyNetwork(ctx context.Context, want network.Wanted) error {
	if time.Since(i.lastAt) < resync/2 && equal(i.last, want) {
		return nil
	}
	i.lastAt = time.Time{}
	if err := i.cfg.Network.Apply(ctx, want); err != nil {
		return err
	}
	i.last, i.lastAt = want, time.Now()
	return nil
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
