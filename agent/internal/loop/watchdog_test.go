package loop

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchdogTellsWhatHangs(t *testing.T) {
	w := &Watchdog{}
	hang := make(chan struct{})
	close(hang) // at first, nothing does
	var mu sync.Mutex
	b := &bench{loop: Loop{Resync: time.Second, Watchdog: w, Pass: func(context.Context) error {
		mu.Lock()
		h := hang
		mu.Unlock()
		<-h
		return nil
	}}}
	run(t, b, func() {
		expect := func(want ...string) {
			t.Helper()
			synctest.Wait()
			if got := w.Stuck(); !slices.Equal(got, want) {
				t.Errorf("after %v: %q, want %q", time.Since(b.start), got, want)
			}
		}
		sleep(time.Hour)
		expect() // a loop that does nothing but wait does not hang
		mu.Lock()
		hang = make(chan struct{})
		mu.Unlock()
		b.wake.Set()
		synctest.Wait()
		sleep(59 * time.Second)
		expect()
		const text = "the test loop hangs for 1 min: restart the agent with: systemctl restart piswarm"
		sleep(time.Second)
		expect(text)
		sleep(59 * time.Second)
		expect(text) // the report stays the same for a while
		sleep(time.Second)
		expect(strings.Replace(text, "1 min", "2 min", 1))
		close(hang)
		expect()
	})
	synctest.Test(t, func(t *testing.T) {
		if got := (&Watchdog{}).Stuck(); got != nil {
			t.Errorf("without a loop: %q", got)
		}
		if got := w.Stuck(); got != nil {
			t.Errorf("after the loop has ended: %q", got)
		}
	})
}

// TestNoPassIsSlowForTheWatchdog holds that a pass whose waits heed its context is over before it counts as hanging.
func TestNoPassIsSlowForTheWatchdog(t *testing.T) {
	w := &Watchdog{}
	b := &bench{loop: Loop{Resync: time.Second, Watchdog: w, Pass: func(ctx context.Context) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}}}
	run(t, b, func() {
		for range 600 {
			sleep(time.Second)
			if got := w.Stuck(); got != nil {
				t.Fatalf("after %v: %q", time.Since(b.start), got)
			}
		}
		if n := len(b.passes); n < 10 {
			t.Errorf("%d passes in ten minutes", n)
		}
	})
	if got := b.log.String(); !strings.Contains(got, "test: not done within 45s") {
		t.Errorf("the log does not say why: %s", got)
	}
}

func TestWatchdogNotifiesWhileNothingHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := &Watchdog{}
		var log bytes.Buffer
		var calls atomic.Int32
		done := make(chan error, 1)
		go func() {
			done <- w.Run(ctx, 30*time.Second, func() { calls.Add(1) }, slog.New(slog.NewTextHandler(&log, nil)))
		}()
		expect := func(what string, want int32) {
			t.Helper()
			synctest.Wait()
			if got := calls.Swap(0); got != want {
				t.Errorf("%s: %d calls, want %d", what, got, want)
			}
		}
		expect("at the start", 1)
		sleep(10 * time.Minute)
		expect("in ten minutes", 20)
		end := w.begin("worker")
		sleep(59 * time.Second)
		expect("in a long pass", 1)
		sleep(10 * time.Minute)
		expect("in one that hangs", 0)
		if got := strings.Count(log.String(), "the worker loop hangs"); got != 1 {
			t.Errorf("it was logged %d times: %s", got, &log)
		}
		end()
		sleep(time.Minute)
		expect("after it went on all the same", 2)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
