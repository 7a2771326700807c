package gossip

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/hashicorp/serf/serf"
)

const (
	// knockEvery is how often it is looked whether one that is down is back. A healed partition is one cluster again
	// after about this time.
	knockEvery = 2 * time.Second
	// knockFor is how long an answer to a knock may take; the next time is soon.
	knockFor = time.Second
	// knocks is how many questions a knock is.
	knocks = 2
	// knocksAtOnce bounds the packets of a node that has lost many others.
	knocksAtOnce = 4
)

// knock looks, as long as somebody known is missing, whether it answers, and if so joins it.
func (g *Gossip) knock(ctx context.Context) {
	doors := make(chan struct{}, knocksAtOnce)
	next := 0
	for {
		jitter := time.Duration(rand.Int64N(int64(knockEvery / 4)))
		select {
		case <-ctx.Done():
			return
		case <-time.After(knockEvery - jitter):
		}
		missing := g.missing()
		for range min(len(missing), knocksAtOnce) {
			next++
			address := missing[next%len(missing)]
			select {
			case doors <- struct{}{}:
				g.work.Go(func() {
					g.Knock(ctx, address)
					<-doors
				})
			default: // those of before are still being joined
			}
		}
	}
}

// Knock asks at an address whether a member is there, and if so joins it. It takes about a second if nobody is.
func (g *Gossip) Knock(ctx context.Context, address netip.AddrPort) (joined bool) {
	who, _, _, ok := g.asker.ask(ctx, "", address, knocks, knockFor)
	if !ok || who == g.asker.id || ctx.Err() != nil {
		return false
	}
	for _, m := range g.serf.Members() {
		if m.Name == who && m.Status == serf.StatusAlive && addressOf(m) == address {
			return false // was away for a moment, or the address is one that the caller remembers
		}
	}
	if _, err := g.Join([]netip.AddrPort{address}); err != nil {
		g.log.Debug("join one that answers", "address", address, "error", err)
		return false
	}
	return true
}

// missing are the last addresses of the members that are down, and those that the caller remembers of nodes that serf
// does not know, each once.
func (g *Gossip) missing() []netip.AddrPort {
	seen := map[netip.AddrPort]bool{g.asker.address: true}
	var all []netip.AddrPort
	members := g.serf.Members()
	for _, m := range members {
		if m.Status != serf.StatusFailed {
			seen[addressOf(m)] = true
		}
	}
	add := func(a netip.AddrPort) {
		if a.IsValid() && !seen[a] {
			seen[a] = true
			all = append(all, a)
		}
	}
	for _, m := range members {
		if m.Status == serf.StatusFailed && g.condemned(m.Name) {
			add(addressOf(m))
		}
	}
	if g.known != nil {
		for _, a := range g.known() {
			add(a)
		}
	}
	return all
}
