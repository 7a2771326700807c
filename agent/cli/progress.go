package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// display shows a service on its way to what is wanted.
type display interface {
	show(v view, verdict verdict)
}

type quietDisplay struct{}

func (quietDisplay) show(view, verdict) {}

// plainDisplay writes a line for each change of a task, for logs and pipes.
type plainDisplay struct {
	w    io.Writer
	last map[string]string // by task, what its last line said; nil before the first reading

	notice string // the last one
}

func (d *plainDisplay) show(v view, verdict verdict) {
	if n := v.notice(); n != "" && n != d.notice {
		d.notice = n
		fmt.Fprintln(d.w, v.service+": "+n)
	}
	first := d.last == nil
	next := make(map[string]string, len(v.tasks))
	for _, t := range v.tasks {
		name := taskName(t)
		line := name + " " + describe(t)
		next[name] = line
		// What runs, or is over, already when the wait begins is no change.
		if line != d.last[name] && !(first && (t.State == cluster.Running || over(t))) {
			fmt.Fprintln(d.w, line)
		}
	}
	d.last = next
	if verdict == converged {
		fmt.Fprintln(d.w, v)
	}
}

func describe(t client.Task) string {
	s := string(t.State)
	if t.Node != "" {
		s += " on " + t.Node
	}
	if t.Error != "" {
		s += ": " + oneLine(t.Error)
	}
	return s
}

// barDisplay draws docker's bars on a terminal, in place.
type barDisplay struct {
	screen *screen
	last   string
}

func (d *barDisplay) show(v view, verdict verdict) {
	_, height := d.screen.size()
	lines := barLines(v, verdict, height)
	if text := strings.Join(lines, "\n"); text != d.last {
		d.last = text
		d.screen.draw(lines)
	}
}

const (
	maxBars  = 20 // as in docker: more scroll by unread
	barWidth = 30
)

// barLines is the drawing: how far all are, a line a task as far as there is room, and what the wait is at.
func barLines(v view, verdict verdict, height int) []string {
	lines := []string{fmt.Sprintf("overall progress: %d out of %s", v.done(), plural(v.want, "task"))}
	if n := v.notice(); n != "" {
		lines = append(lines, n)
	}
	// Two lines stand around the bars, and the cursor takes one.
	room := max(min(maxBars, height-4), 1)
	tasks, hidden := v.tasks, 0
	if len(tasks) > room {
		tasks = missingFirst(v)
		hidden = len(tasks) - room
		tasks = tasks[:room]
	}
	width := 0
	for _, t := range tasks {
		width = max(width, len(barLabel(v, t)))
	}
	for _, t := range tasks {
		about := t.Node
		if t.Error != "" {
			about = oneLine(t.Error)
		}
		state := t.State
		if !v.current(t) {
			state = "waiting" // for its turn to be replaced
		}
		line := fmt.Sprintf("%-*s %-9s [%s] %s", width, barLabel(v, t), state, bar(state), about)
		lines = append(lines, strings.TrimRight(line, " "))
	}
	if hidden > 0 {
		lines = append(lines, fmt.Sprintf("… and %d more", hidden))
	}
	switch verdict {
	case settling:
		lines = append(lines, "verify: all tasks run, watching for a moment that they stay up")
	case converged:
		lines = append(lines, v.String())
	}
	return lines
}

func barLabel(v view, t client.Task) string {
	if t.Slot == 0 {
		return taskName(t) + ":"
	}
	return fmt.Sprintf("%d/%d:", t.Slot, v.want)
}

// bar fills with the stages of a task's life that lie behind it.
func bar(s cluster.State) string {
	stage := map[cluster.State]int{cluster.Preparing: 1, cluster.Starting: 2, cluster.Running: 3, cluster.Unhealthy: 3, cluster.Complete: 3}[s]
	if stage == 0 {
		return strings.Repeat(" ", barWidth)
	}
	filled := stage * barWidth / 3
	return strings.Repeat("=", filled-1) + ">" + strings.Repeat(" ", barWidth-filled)
}

// missingFirst puts first what one waits for.
func missingFirst(v view) []client.Task {
	var waiting, there []client.Task
	for _, t := range v.tasks {
		if v.reached(t) {
			there = append(there, t)
		} else {
			waiting = append(waiting, t)
		}
	}
	return append(waiting, there...)
}
