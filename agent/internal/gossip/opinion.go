package gossip

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/hashicorp/serf/serf"
)

// recheck is how often a member is asked that serf says has failed but that answers.
const recheck = 500 * time.Millisecond

// tooSoon is how soon after it was found dead no Pi is back that really was: it takes longer to boot.
const tooSoon = 4 * time.Second

// maxStumbles is how often a node asks again because it stood still itself while it asked, as one does whose processor
// or card is overloaded: what it did not hear then says nothing about others.
const maxStumbles = 4

// trial is the second opinion on a member that serf says has failed.
type trial struct {
	end  context.CancelFunc
	dead bool // it did not answer
	at   time.Time
}

// accuse begins a trial. Until it has found something, the member counts as alive.
func (g *Gossip) accuse(ctx context.Context, m serf.Member) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.trials[m.Name] != nil {
		return
	}
	ctx, end := context.WithCancel(ctx)
	t := &trial{end: end}
	g.trials[m.Name] = t
	g.work.Go(func() { g.try(ctx, t, m.Name, addressOf(m)) })
}

// acquit ends a trial: serf says that the member is back, or has left.
func (g *Gossip) acquit(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.trials[id]; t != nil {
		t.end()
		if t.dead && time.Since(t.at) < tooSoon {
			g.links.wronged(id)
		}
		delete(g.trials, id)
	}
}

// condemned tells whether a member that serf says has failed did not answer either.
func (g *Gossip) condemned(id string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.trials[id]
	return t != nil && t.dead
}

// try asks the accused until it is silent, and as long as it answers helps it to be a member again. Every node does this
// alone and at the same time: of n nodes, the accused gets n-1 questions, of which one answer each ends the asking.
func (g *Gossip) try(ctx context.Context, t *trial, id string, address netip.AddrPort) {
	helping := make(chan struct{}, 1)
	for {
		at, alive := g.reach(ctx, id, address)
		if ctx.Err() != nil {
			return
		}
		if !alive {
			break
		}
		// It does not know that it was declared dead, or its word that it is not was lost. A push/pull tells it, and it
		// will contradict. That may take until TCP gives up, and the accused may die meanwhile: so it goes beside.
		select {
		case helping <- struct{}{}:
			g.work.Go(func() {
				g.meet(id, at)
				<-helping
			})
		default:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(recheck):
		}
	}
	g.mu.Lock()
	t.dead, t.at = true, time.Now()
	g.mu.Unlock()
	g.log.Debug("a member is down", "member", id, "address", address)
	g.signal()
}

// reach asks a member at its address, and if it is silent at another at which somebody goes by its ID: it may have
// moved, and be known there once the old address is dead.
func (g *Gossip) reach(ctx context.Context, id string, address netip.AddrPort) (netip.AddrPort, bool) {
	if g.answers(ctx, id, address) {
		return address, true
	}
	moved, ok := g.claims.get(id)
	if !ok || moved == address || ctx.Err() != nil {
		return address, false
	}
	if ok = g.answers(ctx, id, moved); !ok {
		g.claims.drop(id) // the next trial need not wait for it
	}
	return moved, ok
}

// answers asks a member until it answers or the patience with it is over.
func (g *Gossip) answers(ctx context.Context, id string, address netip.AddrPort) bool {
	patience := g.links.patience(id)
	for range maxStumbles {
		began := time.Now()
		_, rtt, missed, ok := g.asker.ask(ctx, id, address, maxQuestions, patience)
		if ok {
			g.links.answered(id, rtt, missed)
		}
		if ok || ctx.Err() != nil || time.Since(began) < patience*3/2 {
			return ok
		}
	}
	return false
}

// meet exchanges all that is known of the members with the one at that address.
func (g *Gossip) meet(id string, address netip.AddrPort) {
	if _, err := g.serf.Memberlist().Join([]string{id + "/" + address.String()}); err != nil {
		g.log.Debug("meet", "member", id, "address", address, "error", err)
	}
}

func addressOf(m serf.Member) netip.AddrPort { return addrPort(m.Addr, m.Port) }

func addrPort(ip net.IP, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip) // the zero address, which is not valid, for one of another length
	return netip.AddrPortFrom(a.Unmap(), port)
}
