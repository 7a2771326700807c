// Package loop runs the agent's loops: each is one goroutine that looks at everything anew whenever something
// it depends on may have changed.
//
// A pass is snapshot, decide, apply, report. Because every pass takes the whole wanted state and may be run
// again with the same, a missed or doubled wake-up does no harm, and an error is simply met by the next pass.
package loop

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
	// Pass does the work. Its error is logged once and met by a pass soon after, with a growing pause. Its context ends
	// when the loop does, or when the pass has taken passLimit: what takes longer belongs beside the loop.
	Pass func(context.Context) error
	// Watchdog, if any, is told of each pass.
	Watchdog *Watchdog
	Log      *slog.Logger
}

// passLimit is how long a pass may wait for others in all, each of whom may take long but not too long by himself. It
// leaves the Watchdog no pass that is merely slow.
const passLimit = 45 * time.Second

// Pauses after a failed pass.
const (
	minPause = 200 * time.Millisecond
	maxPause = 10 * time.Second
	// wakePause is how long a wake-up has to wait then, if the pause is not over before. What it tells may be what
	// the failed pass lacked, or have nothing to do with the failure, like a node that is gone: that must not wait
	// for as long as something is broken which nobody mends. Yet a source that wakes the loop without end must not
	// make a failing pass run without end.
	wakePause = time.Second
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
		next, deaf := l.Resync*4/5+rand.N(l.Resync*2/5), time.Duration(0)
		ended := l.Watchdog.begin(l.Name)
		err := l.once(ctx)
		ended()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if text := err.Error(); text != last { // the same trouble again is no news
				l.Log.Warn(l.Name+": "+text, "again in", pause)
				last = text
			}
			deaf = min(pause, wakePause)
			next, pause = pause-deaf, min(pause*2, maxPause)
		default:
			if last != "" {
				l.Log.Info(l.Name + ": works again")
			}
			pause, last = minPause, ""
		}
		await(ctx, deaf, nil)
		await(ctx, next, wake)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// once makes one pass.
func (l Loop) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, passLimit, fmt.Errorf("not done within %s", passLimit))
	defer cancel()
	return l.Pass(ctx)
}

// await waits until the time is over or something comes before.
func await(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-timer.C:
	}
}
