package loop

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// bench runs a loop in virtual time and notes when it passes.
type bench struct {
	loop        Loop
	wake, other Trigger
	start       time.Time
	log         bytes.Buffer

	mu     sync.Mutex
	passes []time.Duration // since the start
	err    error           // what a pass returns
}

// run calls steps while the loop runs, and ends it.
func run(t *testing.T, b *bench, steps func()) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b.wake, b.other, b.start = NewTrigger(), NewTrigger(), time.Now()
		pass := b.loop.Pass
		b.loop.Name, b.loop.Wake = "test", []<-chan struct{}{b.wake, b.other}
		b.loop.Log = slog.New(slog.NewTextHandler(&b.log, nil))
		b.loop.Pass = func(ctx context.Context) error {
			b.mu.Lock()
			b.passes = append(b.passes, time.Since(b.start))
			err := b.err
			b.mu.Unlock()
			if pass != nil {
				return pass(ctx)
			}
			return err
		}
		done := make(chan error, 1)
		go func() { done <- b.loop.Run(ctx) }()
		synctest.Wait()
		steps()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the end: %v", err)
		}
	})
}

// sleep lets the time pass and everything that it brings come to its end.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// taken are the times of the passes since the last call.
func (b *bench) taken() []time.Duration {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	passes := b.passes
	b.passes = nil
	return passes
}

// count is how many passes there were since the last call.
func (b *bench) count() int { return len(b.taken()) }

// fail makes passes from now on return an error, or none.
func (b *bench) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

func TestLoopPassesWhenWoken(t *testing.T) {
	b := &bench{loop: Loop{Resync: time.Hour}}
	run(t, b, func() {
		if n := b.count(); n != 1 {
			t.Errorf("%d passes at the start", n)
		}
		for _, source := range []Trigger{b.wake, b.other} {
			source.Set()
			source.Set() // is not there yet, or is one with the first
			if n := b.count(); n < 1 || n > 2 {
				t.Errorf("%d passes for two wake-ups", n)
			}
		}
	})
}

// A wake-up during a pass is about what the pass may not have seen.
func TestLoopPassesAgainWhenWokenMeanwhile(t *testing.T) {
	b := &bench{loop: Loop{Resync: time.Hour, Pass: func(context.Context) error {
		time.Sleep(time.Second)
		return nil
	}}}
	run(t, b, func() {
		b.wake.Set()
		sleep(1500 * time.Millisecond)
		if n := b.count(); n != 2 {
			t.Errorf("%d passes, want 2", n)
		}
	})
}

func TestLoopResyncsWithJitter(t *testing.T) {
	b := &bench{loop: Loop{Resync: 10 * time.Second}}
	run(t, b, func() {
		sleep(time.Hour)
		passes := b.taken()
		var gaps []time.Duration
		for i := range passes[1:] {
			gaps = append(gaps, passes[i+1]-passes[i])
		}
		if low, high := slices.Min(gaps), slices.Max(gaps); low < 8*time.Second || high >= 12*time.Second || high-low < 3*time.Second {
			t.Errorf("pauses of %v to %v, want 8 s to 12 s", low, high)
		}
	})
}

// With every failure the pause doubles, up to a limit; a success makes it short again.
func TestLoopPausesAfterErrors(t *testing.T) {
	b := &bench{loop: Loop{Resync: time.Hour}, err: errors.New("broken")}
	run(t, b, func() {
		sleep(40 * time.Second)
		want := []time.Duration{0, 200, 600, 1400, 3000, 6200, 12600, 22600, 32600}
		for i := range want {
			want[i] *= time.Millisecond
		}
		if passes := b.taken(); !slices.Equal(passes, want) {
			t.Errorf("passes at %v, want %v", passes, want)
		}
		b.fail(nil)
		sleep(10 * time.Second)
		b.fail(errors.New("broken again"))
		b.wake.Set()
		b.count()
		sleep(200 * time.Millisecond)
		if n := b.count(); n != 1 {
			t.Errorf("%d passes in the first pause after a success", n)
		}
	})
	for text, times := range map[string]int{"broken\"": 1, "broken again": 1, "works again": 1} {
		if got := strings.Count(b.log.String(), text); got != times {
			t.Errorf("%q is logged %d times, want %d:\n%s", text, got, times, &b.log)
		}
	}
}

// A source that flaps does not make a failing pass spin, and a wake-up does not wait for the whole of a long pause.
func TestLoopKeepsItsPauseWhileItIsWoken(t *testing.T) {
	b := &bench{loop: Loop{Resync: time.Hour}, err: errors.New("broken")}
	run(t, b, func() {
		for range 1000 {
			b.wake.Set()
			sleep(10 * time.Millisecond)
		}
		if n := b.count(); n < 10 || n > 14 {
			t.Errorf("%d passes in 10 s of flapping, want about one a second", n)
		}
		sleep(30 * time.Second) // by now the pause is at its longest
		b.count()
		sleep(2 * time.Second)
		b.count()
		b.wake.Set()
		if n := b.count(); n != 1 {
			t.Errorf("%d passes for a wake-up within the pause", n)
		}
		b.fail(nil)
		sleep(20 * time.Second)
		b.count()
		for range 10 {
			b.wake.Set()
			synctest.Wait()
		}
		if n := b.count(); n != 10 {
			t.Errorf("%d passes for 10 wake-ups when all is well", n)
		}
	})
}

func TestLoopEndsInThePause(t *testing.T) {
	b := &bench{loop: Loop{Resync: time.Hour}, err: errors.New("broken")}
	run(t, b, func() { sleep(100 * time.Millisecond) })
	if len(b.passes) != 1 {
		t.Errorf("%d passes", len(b.passes))
	}
}

func TestHubWakesAll(t *testing.T) {
	var h Hub
	h.Set()
	a, cancel := h.Subscribe()
	b, _ := h.Subscribe()
	h.Set()
	cancel()
	h.Set()
	if len(a) != 1 || len(b) != 1 {
		t.Errorf("%d and %d wake-ups", len(a), len(b))
	}
	<-a
	h.Set()
	if len(a) != 0 {
		t.Error("one that has cancelled is woken")
	}
}
