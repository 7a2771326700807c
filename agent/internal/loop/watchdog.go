package loop

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// limit is how long a pass may take. All its waits end with its context, after passLimit; so one that is not over after
// a minute hangs in something that heeds no context, and may do so for ever.
const limit = time.Minute

// Watchdog knows which passes are under way, and so which of them hang. There is one for all loops of an agent; its
// zero value is ready.
type Watchdog struct {
	// Took is told how long each pass took. Optional.
	Took func(loop string, d time.Duration)

	mu     sync.Mutex
	passes map[*underWay]bool
}

// underWay is a pass that has begun and not ended.
type underWay struct {
	name  string
	since time.Time // on the monotonic clock: setting the clock makes nothing hang
}

// begin notes that a pass begins, and returns what to call at its end. A nil Watchdog notes nothing.
func (w *Watchdog) begin(name string) (end func()) {
	if w == nil {
		return func() {}
	}
	p := &underWay{name, time.Now()}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.passes == nil {
		w.passes = map[*underWay]bool{}
	}
	w.passes[p] = true
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.passes, p)
		if w.Took != nil {
			w.Took(p.name, time.Since(p.since))
		}
	}
}

// Stuck returns a sentence for each loop whose pass has taken too long, in order. The sentence is the same for a
// minute, so that a report which holds it does not change with every look.
func (w *Watchdog) Stuck() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var stuck []string
	for p := range w.passes {
		if d := time.Since(p.since); d >= limit {
			stuck = append(stuck, fmt.Sprintf("the %s loop hangs for %d min: restart the agent with: systemctl restart piswarm",
				p.name, int(d.Minutes())))
		}
	}
	slices.Sort(stuck)
	return stuck
}

// Run calls notify every so often, as long as nothing hangs and ctx does not end. Whoever waits for those calls,
// as systemd does with WatchdogSec=, restarts an agent that makes none.
func (w *Watchdog) Run(ctx context.Context, every time.Duration, notify func(), log *slog.Logger) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	said := false
	for {
		stuck := w.Stuck()
		if len(stuck) == 0 {
			notify()
		} else if !said {
			log.Error("something hangs", "loops", stuck)
		}
		said = len(stuck) > 0
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
