package agent

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"github.com/piswarm/piswarm/agent/internal/identity"
	"github.com/piswarm/piswarm/agent/internal/ingress"
	"github.com/piswarm/piswarm/agent/internal/loop"
	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// place is this node's part of the pod network. Nodes choose their parts without asking: a hash of the ID names
// one, known ones are avoided, and where two chose the same all the same, because they booted at the same moment or
// on two sides of a partition, the one with the greater ID chooses anew.
type place struct {
	s *session

	mu    sync.Mutex
	pool  cluster.Pool
	index int // 0: not chosen yet
}

func newPlace(s *session) *place {
	pool, err := cluster.ParsePool(s.agent.membership().Pool)
	if err != nil {
		s.log.Warn("the pod network on disk is not usable: going by the default", "error", err)
		pool, _ = cluster.ParsePool(cluster.DefaultPool) // a constant
	}
	return &place{s: s, pool: pool, index: s.agent.node.Subnet}
}

// get is where this node is.
func (p *place) get() ingress.Place {
	p.mu.Lock()
	defer p.mu.Unlock()
	return ingress.Place{LAN: p.s.lan, Subnet: p.pool.Subnet(p.index), Pool: p.pool, Bridge: bridgeName}
}

// subnet is the network of this node's containers; not valid while none is chosen.
func (p *place) subnet() netip.Prefix {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.index == 0 {
		return netip.Prefix{}
	}
	return p.pool.Subnet(p.index)
}

// gateway is the bridge's address.
func (p *place) gateway() netip.Addr { return p.subnet().Addr().Next() }

// run keeps the choice free of conflicts until ctx ends.
func (p *place) run(ctx context.Context) error {
	dirty, cancel := p.s.store.Watch(state.Kinds(cluster.KindReport, cluster.KindNode, cluster.KindCluster))
	defer cancel()
	wake, cancel := p.s.members.Subscribe()
	defer cancel()
	return loop.Loop{
		Name: "place", Wake: []<-chan struct{}{dirty, wake}, Resync: time.Minute, Watchdog: &p.s.agent.watchdog, Log: p.s.log,
		Pass: func(ctx context.Context) error { return p.pass() },
	}.Run(ctx)
}

func (p *place) pass() error {
	v := p.s.reader.View()
	// The cluster as a whole gets its settings from whoever leads, if no init has written them: the nodes of an SD
	// image have only their token.
	var keys []string
	if v.Cluster.Pool == "" && v.Leader == v.Self {
		p.mu.Lock()
		settings := cluster.ClusterSettings{Name: p.s.agent.membership().Name, Pool: p.pool.String()}
		p.mu.Unlock()
		if err := p.s.put(cluster.SettingsKey, settings); err != nil {
			return err
		}
		keys = append(keys, cluster.SettingsKey)
	}
	// A node that left and came back finds its own record removed. One that is just leaving has removed it itself;
	// one that was removed for good is on its way out.
	if _, ok := v.Settings[v.Self]; !ok && !p.s.parted.Load() && !v.Removed[v.Self] {
		if err := p.s.introduce(); err != nil {
			return err
		}
		keys = append(keys, cluster.NodeKey(v.Self))
	}
	if len(keys) > 0 {
		if err := p.s.state.Publish(keys...); err != nil {
			return err
		}
	}
	return p.choose()
}

// choose chooses if there is no choice yet, or a conflict that is this node's to resolve.
func (p *place) choose() error {
	v := p.s.reader.View()
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.pool
	if known, err := cluster.ParsePool(v.Cluster.Pool); err == nil {
		pool = known
	}
	index := p.index
	if index > pool.Nodes() || pool != p.pool || conflict(v, pool, index) {
		index = 0
	}
	if index != 0 {
		return nil
	}
	index = pool.ChooseSubnet(v.Self, taken(v, pool))
	if index == 0 {
		return errors.New("no part of the pod network " + pool.String() + " is left for this node: too many nodes are known; remove old ones with piswarm node rm")
	}
	p.s.agent.node.Subnet = index
	if err := p.s.agent.dir.SaveNode(p.s.agent.node); err != nil {
		return err
	}
	_, err := p.s.agent.change(func(m identity.Membership) (identity.Membership, error) {
		m.Pool, m.Name = pool.String(), orDefault(v.Cluster.Name, m.Name)
		return m, nil
	})
	if err != nil {
		return err
	}
	p.pool, p.index = pool, index
	p.s.log.Info("this node's containers live in", "subnet", pool.Subnet(index))
	p.s.members.Set()
	return nil
}

// conflict tells whether another node has the subnet of that index and the better right to it.
func conflict(v view.View, pool cluster.Pool, index int) bool {
	for id, report := range v.Reports {
		if id >= v.Self || !v.Ready(id) {
			continue
		}
		if other, ok := subnetIndex(pool, report); ok && other == index {
			return true
		}
	}
	return false
}

// taken are the subnets of all other known nodes, up or down.
func taken(v view.View, pool cluster.Pool) map[int]bool {
	all := map[int]bool{}
	for id, report := range v.Reports {
		if index, ok := subnetIndex(pool, report); ok && id != v.Self {
			all[index] = true
		}
	}
	return all
}

func subnetIndex(pool cluster.Pool, r cluster.Report) (int, bool) {
	subnet, err := netip.ParsePrefix(r.Node.Subnet)
	if err != nil {
		return 0, false
	}
	return pool.Index(subnet)
}
