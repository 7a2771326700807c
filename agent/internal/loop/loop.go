// Package loop runs the agent's loops: each is one goroutine that looks at everything anew whenever something
// it depends on may have changed.
//
// A pass is snapshot, decide, apply, report. Because every pass takes the whole wanted state and may be run
// again with the same, a missed or doubled wake-up does no harm, and an error is simply met by the next pass.
package loop

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// Trigger wakes a loop. Any number of calls before the loop gets to it are one wake-up.
type Trigger chan struct{}

// NewTrigger returns a trigger.
func NewTrigger() Trigger { return make(Trigger, 1) }

// Set wakes the loop. It never blocks.
func (t Trigger) Set() {
	select {
	case t <- struct{}{}:
	default:
	}
}

// Loop is one loop.
type Loop struct {
	Name string
	// Wake are the channels that make it look again.
	Wake []<-chan struct{}
	// Resync is how often it looks without being woken, give or take a fifth, so that fifty nodes that were
	// powered on together do not look together for ever.
	Resync time.Duration
	// Pass does the work. Its error is logged once and met by a pass soon after, with a growing pause.
	Pass func(context.Context) error
	Log  *slog.Logger
}

// Pauses after a failed pass.
const (
	minPause = 200 * time.Millisecond
	maxPause = 10 * time.Second
)

// Run passes until ctx ends.
func (l Loop) Run(ctx context.Context) error {
	wake := NewTrigger()
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{}, len(l.Wake))
	for _, source := range l.Wake {
		go func() {
			defer func() { done <- struct{}{} }()
			for {
				select {
				case <-ctx.Done():
					return
				case <-source:
					wake.Set()
				}
			}
		}()
	}
	defer func() {
		cancel()
		for range l.Wake {
			<-done
		}
	}()
	pause, last := minPause, ""
	for {
		next := l.Resync*4/5 + rand.N(l.Resync*2/5)
		switch err := l.Pass(ctx); {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if text := err.Error(); text != last { // the same trouble again is no news
				l.Log.Warn(l.Name+": "+text, "again in", pause)
				last = text
			}
			next, pause = pause, min(pause*2, maxPause)
		default:
			if last != "" {
				l.Log.Info(l.Name + ": works again")
			}
			pause, last = minPause, ""
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-wake:
			timer.Stop()
		case <-timer.C:
		}
	}
}

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
