package worker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// play runs a check whose answers are given by the time since its container's start, and tells in seconds when it was
// asked and what came of it: "1 2! 4+ sick" was asked at 1, failed in a way that counts at 2, and passed at 4.
func play(c *check, begun time.Time, took time.Duration, until time.Duration, passes func(at time.Duration) bool) string {
	var told strings.Builder
	for c.next.Sub(begun) <= until {
		asked := c.next
		failures, failure := c.failures, "no"
		if passes(asked.Sub(begun)) {
			failure = ""
		}
		c.answered(failure, asked, asked.Add(took))
		fmt.Fprint(&told, asked.Sub(begun).Seconds())
		switch {
		case failure == "":
			told.WriteString("+ ")
		case c.failures > failures:
			told.WriteString("! ")
		default:
			told.WriteString(" ")
		}
		if !c.sick.IsZero() {
			fmt.Fprint(&told, "sick")
			break
		}
	}
	return strings.TrimSpace(told.String())
}

func TestCheck(t *testing.T) {
	const s = time.Second
	cmd := []string{"x"}
	never := func(time.Duration) bool { return false }
	from := func(from time.Duration) func(time.Duration) bool {
		return func(at time.Duration) bool { return at >= from }
	}
	for name, test := range map[string]struct {
		health cluster.Health
		opened time.Duration // its ports, after its start
		took   time.Duration // each question
		passes func(time.Duration) bool
		until  time.Duration
		want   string
	}{
		// docker would ask at 30, 60 and 90.
		"never passes":               {cluster.Health{Cmd: cmd}, 0, 0, never, 200 * s, "1 2 4 8 13 18 23 28 30! 35 40 45 50 55 60! 65 70 75 80 85 90! sick"},
		"takes 30 s each time":       {cluster.Health{Cmd: cmd}, 0, 30 * s, never, 300 * s, "1 32! 64 98! 133 168! sick"},
		"passes at once":             {cluster.Health{Cmd: cmd}, 0, 0, from(0), 70 * s, "1+ 31+ 61+"},
		"passes late":                {cluster.Health{Cmd: cmd}, 0, 0, from(3 * s), 40 * s, "1 2 4+ 34+"},
		"its port opens late":        {cluster.Health{Cmd: cmd}, 7 * s, 0, from(0), 40 * s, "7+ 37+"},
		"HTTP is asked at once":      {cluster.Health{HTTP: "/"}, 200 * time.Millisecond, 0, from(0), 40 * s, "0.2+ 30.2+"},
		"fails after it had passed":  {cluster.Health{TCP: true, Interval: 10 * s}, 0, 0, func(at time.Duration) bool { return at < 20*s }, 100 * s, "0+ 10+ 20! 30! 40! sick"},
		"recovers in time":           {cluster.Health{TCP: true, Interval: 10 * s}, 0, 0, func(at time.Duration) bool { return at != 10*s && at != 20*s && at != 40*s }, 70 * s, "0+ 10! 20! 30+ 40! 50+ 60+ 70+"},
		"one failure is enough":      {cluster.Health{TCP: true, Interval: 10 * s, Retries: 1}, 0, 0, func(at time.Duration) bool { return at < 10*s }, 70 * s, "0+ 10! sick"},
		"start period":               {cluster.Health{Cmd: cmd, Interval: 10 * s, StartPeriod: 20 * s}, 0, 0, never, 100 * s, "1 2 4 8 13 18 20! 25 30! 35 40! sick"},
		"start period, with success": {cluster.Health{Cmd: cmd, Interval: 2 * s, StartPeriod: time.Hour}, 0, 0, func(at time.Duration) bool { return at == 2*s }, 100 * s, "1 2+ 4! 6! 8! sick"},
		"asked often by wish":        {cluster.Health{Cmd: cmd, Interval: time.Second / 4, StartInterval: time.Second / 2}, 0, 0, from(s), s, "0.25! 0.5! 0.75! sick"},
	} {
		begun := time.Unix(1000, 0)
		c := newCheck(test.health, begun, begun.Add(test.opened))
		if got := play(c, begun, test.took, test.until, test.passes); got != test.want {
			t.Errorf("%s: %s\nwant %s", name, got, test.want)
		}
	}
}
