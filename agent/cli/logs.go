package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

// logsOptions are the flags of logs.
type logsOptions struct {
	follow, timestamps, raw, noTaskIDs, noTrunc bool

	tail, since string
}

func newLogsCommand(a *app) *cobra.Command {
	var o logsOptions
	cmd := &cobra.Command{
		Use:   "logs [OPTIONS] SERVICE|TASK",
		Short: "Show what the tasks of a service, or one task, have written",
		Long: `Show what the tasks of a service, or one task, have written, on whichever nodes they run. Each line names its task and
node. With --follow it goes on with tasks that come later, as after an update or when a node is gone.

A node keeps the last of each task's output in memory, until the task's container is removed.`,
		Example: `  piswarm logs -f greeters
  piswarm logs --tail 20 greeters.1
  piswarm logs --since 10m -t greeters`,
		Args:              exactArgs(1, "a service or a task, as piswarm ls and piswarm ps name them"),
		ValidArgsFunction: completeFirst(completeServicesAndTasks(a)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runLogs(cmd, a, args[0], o)
		},
		DisableFlagsInUseLine: true,
	}
	f := cmd.Flags()
	f.BoolVarP(&o.follow, "follow", "f", false, "go on with what is written from now on")
	f.StringVarP(&o.tail, "tail", "n", "all", "show so many lines of each task's end, or all")
	f.StringVar(&o.since, "since", "", "show what was written since a `time`: 10m, 2026-01-02T15:04:05, or seconds since 1970")
	f.BoolVarP(&o.timestamps, "timestamps", "t", false, "show when each line was written")
	f.BoolVar(&o.raw, "raw", false, "do not name task and node")
	f.BoolVar(&o.noTaskIDs, "no-task-ids", false, "do not show the tasks' IDs")
	f.BoolVar(&o.noTrunc, "no-trunc", false, "do not shorten the tasks' IDs")
	return cmd
}

func runLogs(cmd *cobra.Command, a *app, name string, o logsOptions) error {
	q := client.LogsQuery{Follow: o.follow}
	var err error
	if q.Tail, err = parseTail(o.tail); err != nil {
		return &usageError{cmd, err}
	}
	if q.Since, err = parseSince(o.since, a.now()); err != nil {
		return &usageError{cmd, err}
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	names, err := resolveServices(ctx, c, []string{name})
	if err != nil {
		return err
	}
	switch _, err := c.Service(ctx, names[0]); {
	case err == nil:
		q.Service = names[0]
	case notFound(err):
		q.Task = name
	default:
		return err
	}
	lines, err := c.Logs(ctx, q)
	if err != nil {
		if notFound(err) {
			return fmt.Errorf("no service and no task named %s: see piswarm ls and piswarm ps", name)
		}
		return err
	}
	defer lines.Close()
	p := &logPrinter{app: a, o: o}
	for {
		line, err := lines.Next()
		switch {
		case errors.Is(err, io.EOF):
			return p.end()
		case err != nil && o.follow && errors.Is(ctx.Err(), context.Canceled):
			return p.end() // the user has seen enough
		case err != nil:
			return errors.Join(err, p.end())
		}
		if err := p.print(line); err != nil {
			return err
		}
	}
}

// parseTail is how many lines a client asks for.
func parseTail(text string) (int, error) {
	if text == "all" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("--tail %q: want a number of lines, or all", text)
	}
	if n == 0 {
		return -1, nil
	}
	return n, nil
}

// parseSince reads a time in the forms that docker takes: how long ago, a date, or seconds since 1970.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	if seconds, err := strconv.ParseFloat(text, 64); err == nil && seconds >= 0 && seconds < 1<<40 {
		return time.UnixMicro(int64(seconds * 1e6)), nil
	}
	return time.Time{}, fmt.Errorf("--since %q: want how long ago, a date or seconds since 1970, for example 10m or 2026-01-02T15:04:05", text)
}

// logPrinter prints lines with the names of who wrote them.
type logPrinter struct {
	app   *app
	o     logsOptions
	width int    // of the widest name
	open  string // task whose line has no end yet
}

func (p *logPrinter) print(l client.LogLine) error {
	if l.Error != "" {
		_, err := fmt.Fprintln(p.app.stderr, "piswarm: "+oneLine(l.Error))
		return err
	}
	text := l.Text
	if p.open != l.Task {
		if err := p.end(); err != nil {
			return err
		}
		text = p.prefix(l) + text
	}
	p.open = ""
	if l.Partial {
		p.open = l.Task
	} else {
		text += "\n"
	}
	_, err := io.WriteString(p.app.stdout, text)
	return err
}

// prefix is docker's: greeters.1.k3w5iqq2b2nw@pi1    | and so on, aligned.
func (p *logPrinter) prefix(l client.LogLine) string {
	prefix := ""
	if p.o.timestamps {
		prefix = l.Time.UTC().Format("2006-01-02T15:04:05.000Z") + " "
	}
	if p.o.raw {
		return prefix
	}
	name := taskName(client.Task{Service: l.Service, Slot: l.Slot, Node: l.Node})
	if l.Slot == 0 {
		name = l.Service
	}
	if !p.o.noTaskIDs {
		name += "." + shortID(l.Task, p.o.noTrunc)
	}
	name += "@" + l.Node
	p.width = max(p.width, len(name))
	return prefix + fmt.Sprintf("%-*s    | ", p.width, name)
}

// end ends a line that has none.
func (p *logPrinter) end() error {
	if p.open == "" {
		return nil
	}
	p.open = ""
	_, err := io.WriteString(p.app.stdout, "\n")
	return err
}
