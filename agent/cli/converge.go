package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// pace is how patient the wait for a service is.
type pace struct {
	settle time.Duration // how long all tasks must run before that counts
	stuck  time.Duration // how long nothing may be under way while tasks are missing
	stall  time.Duration // how long what is under way, such as a large image's pull, may show no change
	poll   time.Duration // the pause after which the agent is asked although no event came
	gap    time.Duration // the least pause between two questions
	lost   time.Duration // how long the agent may not answer
}

// docker watches for 5 s that tasks stay up. One second catches what dies at its start, which is most of what dies, and
// keeps a command short that people repeat.
var defaultPace = pace{
	settle: time.Second,
	stuck:  10 * time.Second,
	stall:  10 * time.Minute,
	poll:   2 * time.Second,
	gap:    50 * time.Millisecond,
	lost:   20 * time.Second,
}

// maxFailures is how often a task may fail before waiting for it is given up.
const maxFailures = 3

// verdict is what is known of a service's way to what is wanted.
type verdict int

const (
	undecided verdict = iota
	settling          // all that is wanted is there, for less than a moment
	converged
	givenUp
)

// convergence judges the readings of a service. It reads no clock: each reading comes with its time.
type convergence struct {
	pace     pace
	last     map[string]client.Task // by name
	failures map[string]int         // by name of task
	want     int
	moved    time.Time // when something was under way last
	changed  time.Time // when a task changed last
	complete time.Time // since when all run without change; zero if they do not
}

func newConvergence(p pace, now time.Time) *convergence {
	return &convergence{pace: p, last: map[string]client.Task{}, failures: map[string]int{}, moved: now, changed: now}
}

// observe takes a reading and judges. For givenUp it says why.
func (c *convergence) observe(now time.Time, v view) (verdict, string) {
	if c.compare(v) {
		c.changed, c.moved, c.complete = now, now, time.Time{}
	}
	if why := v.halted(); why != "" {
		return givenUp, why
	}
	if v.complete() {
		if c.complete.IsZero() {
			c.complete = now
		}
		if v.mode.Job() || now.Sub(c.complete) >= c.pace.settle {
			return converged, ""
		}
		return settling, ""
	}
	c.complete = time.Time{}
	if v.underWay() {
		c.moved = now
	}
	if v.working() {
		c.changed = now
	}
	if c.failing(v) || now.Sub(c.moved) >= c.pace.stuck+v.pause() || now.Sub(c.changed) >= c.pace.stall+v.patience {
		return givenUp, c.reason(v)
	}
	return undecided, ""
}

// failing tells whether a task keeps failing, or has ended and is not run again. What an update makes of that is for its
// failure action to say.
func (c *convergence) failing(v view) bool {
	return !v.updating() && slices.ContainsFunc(v.tasks, func(t client.Task) bool {
		return c.failures[taskName(t)] >= maxFailures || v.current(t) && over(t) && !v.reached(t)
	})
}

// compare tells whether the reading differs from the last one, and counts the failures that it shows.
func (c *convergence) compare(v view) bool {
	differs := len(v.tasks) != len(c.last) || v.want != c.want
	next := make(map[string]client.Task, len(v.tasks))
	for _, t := range v.tasks {
		name := taskName(t)
		next[name] = t
		was, known := c.last[name]
		same := known && was.ID == t.ID && was.State == t.State && was.Since.Equal(t.Since)
		if same {
			continue
		}
		differs = true
		// A task that runs again was down in between, also if it was too short to be seen.
		restarted := known && was.ID == t.ID && was.State == cluster.Running && t.State == cluster.Running
		if restarted || ended(t.State) && !v.reached(t) {
			c.failures[name]++
		}
	}
	c.last, c.want = next, v.want
	return differs
}

func ended(s cluster.State) bool {
	return s == cluster.Failed || s == cluster.Rejected || s == cluster.Complete
}

// maxReasons keeps the line that says why readable.
const maxReasons = 3

// reason says in one line which tasks do not run, those with the same trouble together.
func (c *convergence) reason(v view) string {
	var troubles []string
	names := map[string][]string{}
	for _, t := range v.tasks {
		if v.reached(t) || t.State == cluster.Running && c.failures[taskName(t)] < maxFailures {
			continue
		}
		trouble := c.trouble(t)
		if names[trouble] == nil {
			troubles = append(troubles, trouble)
		}
		names[trouble] = append(names[trouble], taskName(t))
	}
	parts := []string{v.progress()}
	if n := v.notice(); n != "" {
		parts = append(parts, n)
	}
	for i, trouble := range troubles {
		if i == maxReasons {
			parts = append(parts, "and more, see piswarm ps "+v.service)
			break
		}
		parts = append(parts, enumerate(names[trouble])+" "+trouble)
	}
	switch missing := v.want - len(v.tasks); {
	case v.want == 0 && v.mode.PerNode():
		parts = append(parts, "no node may run it: see its constraints and piswarm node ls")
	case missing > 0 && !(v.mode.Job() && len(v.tasks) > 0): // those of a job come one after the other
		parts = append(parts, plural(missing, "task")+" not placed: see the leader in piswarm status")
	case missing < 0:
		parts = append(parts, plural(-missing, "task")+" too many")
	}
	return strings.Join(parts, "; ")
}

func (c *convergence) trouble(t client.Task) string {
	s := string(t.State)
	if n := c.failures[taskName(t)]; n > 1 {
		s += fmt.Sprintf(" (ended %d times)", n)
	}
	if t.Error != "" {
		s += ": " + oneLine(t.Error)
	}
	return s
}

// enumerate names the first few of many.
func enumerate(names []string) string {
	const most = 3
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}
