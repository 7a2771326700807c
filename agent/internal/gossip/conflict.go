package gossip

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// conflictEvery is how often the same address is told to OnConflict.
const conflictEvery = time.Minute

// claim is an address at which somebody goes by the ID of a member that serf knows at another.
type claim struct {
	id       string
	old, new netip.AddrPort
}

// claims are collected from memberlist's calls, which come under its lock and must not wait.
type claims struct {
	queue chan claim

	mu   sync.Mutex
	last map[string]netip.AddrPort // by ID, the last address claimed
	told map[netip.AddrPort]time.Time
}

func newClaims() *claims {
	return &claims{queue: make(chan claim, 16), last: map[string]netip.AddrPort{}, told: map[netip.AddrPort]time.Time{}}
}

// maxClaims bounds what is remembered: beyond it, the memory starts afresh.
const maxClaims = 64

func (c *claims) add(made claim) {
	c.mu.Lock()
	if len(c.last) >= maxClaims {
		clear(c.last)
	}
	c.last[made.id] = made.new
	c.mu.Unlock()
	select {
	case c.queue <- made:
	default: // it is made again with the next push/pull
	}
}

func (c *claims) get(id string) (netip.AddrPort, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.last[id]
	return a, ok
}

func (c *claims) drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.last, id)
}

// due tells whether it is time to tell of an address (again).
func (c *claims) due(a netip.AddrPort) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, ok := c.told[a]; ok && time.Since(last) < conflictEvery {
		return false
	}
	if len(c.told) >= maxClaims {
		clear(c.told)
	}
	c.told[a] = time.Now()
	return true
}

// judge finds out what a claim means. If the old address is silent, the node has moved: it is taken over when the
// failure detection is through with the old one (see try). If both answer, they are two nodes with one ID: a card that
// was cloned.
func (g *Gossip) judge(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-g.claims.queue:
			if _, _, _, ok := g.asker.ask(ctx, c.id, c.new, maxQuestions, maxPatience); !ok {
				continue // an old message about an address that is gone
			}
			old := c.id == g.asker.id // this node knows that it lives
			if !old {
				_, _, _, old = g.asker.ask(ctx, c.id, c.old, maxQuestions, maxPatience)
			}
			if old && ctx.Err() == nil && g.claims.due(c.new) {
				g.log.Debug("two nodes have one ID", "id", c.id, "address", c.old, "other", c.new)
				if g.onConflict != nil {
					g.onConflict(c.new)
				}
			}
		}
	}
}

// conflicts hears of claims beside serf.
type conflicts struct {
	memberlist.ConflictDelegate
	claims *claims
}

func (c conflicts) NotifyConflict(existing, other *memberlist.Node) {
	c.ConflictDelegate.NotifyConflict(existing, other)
	c.claims.add(claim{existing.Name, addrPort(existing.Addr, existing.Port), addrPort(other.Addr, other.Port)})
}
