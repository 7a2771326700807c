package worker

import (
	"cmp"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// check is what is known of the health of a task's container, in docker's terms: it is unhealthy when it has failed a
// number of times one after the other, and failures during its start period do not count. Unlike docker's, a task of
// piswarm serves only when it has passed once, so it is asked sooner and more often until then. No failure counts
// earlier than it would in docker, though.
type check struct {
	// Health has docker's defaults. One that checks nothing is not known yet.
	cluster.Health
	begun    time.Time // when the container started
	next     time.Time // when it is asked next
	pace     time.Duration
	asking   bool
	counts   time.Time // from when on a failure counts
	passed   bool      // once at least
	failures int       // that count, one after the other
	sick     time.Time // since when it has failed too often; zero: it has not
	reason   string    // of its last failure
}

// firstAsk is after which time a command is asked first, and the first of the doubled pauses until it passes. A command
// takes a Pi Zero a good part of a second.
const firstAsk = time.Second

// newCheck returns the check of a container that started then and whose ports, if published, are open now.
func newCheck(health cluster.Health, begun, now time.Time) *check {
	c := &check{Health: health.WithDefaults(), begun: begun, pace: firstAsk, next: now}
	c.counts = begun.Add(cmp.Or(c.StartPeriod, c.Interval))
	if len(c.Cmd) > 0 {
		if first := begun.Add(c.pause()); first.After(now) {
			c.next = first
		}
	}
	return c
}

// pause is until it is asked again as long as it has not passed.
func (c *check) pause() time.Duration { return min(c.pace, c.StartInterval, c.Interval) }

// answered notes what became of a question that was asked then: why it failed, or nothing.
func (c *check) answered(failure string, asked, now time.Time) {
	c.reason = failure
	if failure == "" {
		c.passed, c.failures = true, 0
	} else if c.passed || !asked.Before(c.counts) {
		c.failures++
		c.counts = now.Add(c.Interval)
		if c.failures >= c.Retries {
			c.sick = now
		}
	}
	if c.passed {
		c.next = now.Add(c.Interval)
		return
	}
	c.next = now.Add(c.pause())
	c.pace *= 2
	if c.counts.After(now) && c.counts.Before(c.next) {
		c.next = c.counts // so that docker would not have seen it any earlier
	}
}

// postponed notes that nobody could ask.
func (c *check) postponed(now time.Time) { c.next = now.Add(retry) }
