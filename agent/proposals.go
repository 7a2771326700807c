package agent

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// Anyone on the LAN can propose any address as a node's, and thousands of them. So only a few proposals are followed at
// a time, in any order, and each address seldom.
const (
	proposalsAtOnce = 16
	proposalEvery   = 10 * time.Second
	maxProposals    = 512 // that wait, and that are remembered
)

// proposals follows the addresses that mDNS proposes.
type proposals struct {
	follow func(context.Context, netip.Addr)
	pods   func() netip.Prefix // where containers are, and no node
	atOnce int
	work   sync.WaitGroup

	mu      sync.Mutex
	waiting map[netip.Addr]bool
	last    map[netip.Addr]time.Time // when it was followed
	running int
}

func newProposals(atOnce int, pods func() netip.Prefix, follow func(context.Context, netip.Addr)) *proposals {
	return &proposals{follow: follow, pods: pods, atOnce: atOnce, waiting: map[netip.Addr]bool{}, last: map[netip.Addr]time.Time{}}
}

// add takes up an address, unless it was followed a moment ago. It does not wait.
func (p *proposals) add(ctx context.Context, address netip.Addr) {
	if !address.IsGlobalUnicast() && !address.IsLinkLocalUnicast() {
		return // nobody's, or everybody's
	}
	if p.pods().Contains(address) {
		return // a forger could have a node talk to a container in the name of another one
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if last, ok := p.last[address]; ok && time.Since(last) < proposalEvery || p.waiting[address] {
		return
	}
	if len(p.waiting) >= maxProposals {
		delete(p.waiting, oneOf(p.waiting))
	}
	p.waiting[address] = true
	if p.running < p.atOnce {
		p.running++
		p.work.Go(func() { p.run(ctx) })
	}
}

// run follows what waits until nothing does.
func (p *proposals) run(ctx context.Context) {
	for {
		p.mu.Lock()
		if len(p.waiting) == 0 || ctx.Err() != nil {
			p.running--
			p.mu.Unlock()
			return
		}
		address := oneOf(p.waiting)
		delete(p.waiting, address)
		if len(p.last) >= maxProposals {
			clear(p.last)
		}
		p.last[address] = time.Now()
		p.mu.Unlock()
		p.follow(ctx, address)
	}
}

// oneOf returns one of the addresses, of which there must be some: a forger shall not be able to be always first.
func oneOf(all map[netip.Addr]bool) netip.Addr {
	n := rand.IntN(len(all))
	for a := range all {
		if n--; n < 0 {
			return a
		}
	}
	panic("none of no addresses")
}
