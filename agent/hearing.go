package agent

import (
	"sync"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// hearLimit is how long a node that is back is waited for, until it is taken at its word of before all the same. An
// exchange takes a fraction of a second.
const hearLimit = 3 * time.Second

// hearing knows which ready members have been down and were not heard since. What such a node said before, it said a
// partition ago: tasks that it ran then may be led to by mistake.
type hearing struct {
	members func() []cluster.Member
	greet   func(id string) // begins an exchange with a member
	now     func() time.Time
	late    func() // is called when a member that was waited for in vain is taken at its word

	mu   sync.Mutex
	down map[string]bool
	back map[string]time.Time // since when
}

func newHearing(members func() []cluster.Member, greet func(string), late func()) *hearing {
	return &hearing{members: members, greet: greet, late: late, now: time.Now, down: map[string]bool{}, back: map[string]time.Time{}}
}

// Members returns all members, with those marked that are not heard yet.
func (h *hearing) Members() []cluster.Member {
	members := h.members()
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	for i, m := range members {
		switch {
		case m.Condition != cluster.Ready:
			h.down[m.ID] = true
			delete(h.back, m.ID)
			continue
		case h.down[m.ID]:
			delete(h.down, m.ID)
			h.back[m.ID] = now
			h.greet(m.ID)
			time.AfterFunc(hearLimit, h.late)
		}
		since, waits := h.back[m.ID]
		if waits && now.Sub(since) >= hearLimit {
			delete(h.back, m.ID)
			waits = false
		}
		members[i].Unheard = waits
	}
	return members
}

// Heard notes that this node knows what the member says now. It tells whether that was waited for.
func (h *hearing) Heard(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, waits := h.back[id]
	delete(h.back, id)
	return waits
}
