package gossip

import (
	"testing"
	"time"
)

func TestOneThatWasBackTooSoonIsWaitedForLonger(t *testing.T) {
	var l link
	for range 100 {
		l.answered(time.Millisecond, 0)
	}
	l.wronged()
	if got := l.patience(); got != maxPatience {
		t.Errorf("patience %s", got)
	}
}

func TestPatience(t *testing.T) {
	steady := func(rtt time.Duration) (all []time.Duration) {
		for range 1000 {
			all = append(all, rtt)
		}
		return all
	}
	for _, c := range []struct {
		name     string
		answers  []time.Duration
		missed   int // before each answer
		from, to time.Duration
	}{
		{"never answered", nil, 0, maxPatience, maxPatience},
		{"answered once", []time.Duration{time.Millisecond}, 0, maxPatience, maxPatience},
		{"wired", steady(time.Millisecond), 0, minPatience, 350 * time.Millisecond},
		{"Wi-Fi", steady(30 * time.Millisecond), 0, 700 * time.Millisecond, time.Second},
		{"Wi-Fi that loses a third", steady(30 * time.Millisecond), 1, time.Second, maxPatience},
		{"power save", append(steady(5*time.Millisecond), 2*time.Second, 400*time.Millisecond, time.Second), 0, 2 * time.Second, maxPatience},
		{"long ago", append([]time.Duration{2 * time.Second, 2 * time.Second}, steady(time.Millisecond)...), 0, minPatience, 350 * time.Millisecond},
	} {
		var l link
		for _, rtt := range c.answers {
			l.answered(rtt, c.missed)
		}
		if got := l.patience(); got < c.from || got > c.to {
			t.Errorf("%s: %s, want %s to %s (%+v)", c.name, got, c.from, c.to, l)
		}
	}
}
