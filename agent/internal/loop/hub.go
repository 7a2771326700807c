package loop

import "sync"

// Hub wakes any number of loops at once.
type Hub struct {
	mu   sync.Mutex
	subs map[Trigger]bool
}

// Subscribe returns a channel that every Set wakes, until cancel.
func (h *Hub) Subscribe() (wake <-chan struct{}, cancel func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.subs == nil {
		h.subs = map[Trigger]bool{}
	}
	t := NewTrigger()
	h.subs[t] = true
	return t, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.subs, t)
	}
}

// Set wakes all.
func (h *Hub) Set() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for t := range h.subs {
		t.Set()
	}
}
