package discovery

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// maxWaiting bounds the list: a shelf has fewer Pis, and what a LAN full of forgers adds is passed over.
	maxWaiting = 64
	// waitingFor is how long a node that was heard counts as waiting. Every member asks the LAN once a minute, and all
	// members hear the answers: a node that missed three questions is gone.
	waitingFor = 3*time.Minute + 30*time.Second
)

// Waitlist is the nodes of the LAN that were heard lately to be in no cluster, in memory alone. There is one for an
// address, so that a machine on the LAN can fill it only by taking other addresses, too.
type Waitlist struct {
	mu    sync.Mutex
	nodes map[netip.Addr]heard
}

type heard struct {
	Waiting
	at time.Time
}

// NewWaitlist returns an empty list.
func NewWaitlist() *Waitlist { return &Waitlist{nodes: map[netip.Addr]heard{}} }

// hear takes in what a node at its address says: that it waits, or waits no more.
func (l *Waitlist) hear(w Waiting, gone bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire()
	known, ok := l.nodes[w.Address]
	switch {
	case gone:
		if known.ID == w.ID {
			delete(l.nodes, w.Address)
		}
	case ok || len(l.nodes) < maxWaiting:
		l.nodes[w.Address] = heard{w, time.Now()}
	}
}

// List returns the nodes in order of name and address.
func (l *Waitlist) List() []Waiting {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire()
	all := make([]Waiting, 0, len(l.nodes))
	for _, n := range l.nodes {
		all = append(all, n.Waiting)
	}
	slices.SortFunc(all, func(a, b Waiting) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.Address.Compare(b.Address))
	})
	return all
}

// expire forgets who was not heard for long. It is done when the list is used: nothing wakes up for it.
func (l *Waitlist) expire() {
	for address, n := range l.nodes {
		if time.Since(n.at) > waitingFor {
			delete(l.nodes, address)
		}
	}
}
