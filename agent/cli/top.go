package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

const (
	// refresh is the pause between two readings that a person watches, sampling that of those that make one.
	refresh  = 2 * time.Second
	sampling = time.Second
)

func newTopCommand(a *app) *cobra.Command {
	var once bool
	var format string
	cmd := &cobra.Command{
		Use:   "top [OPTIONS]",
		Short: "Show what nodes and tasks use of processor and memory",
		Long: `Show what nodes and tasks use of processor and memory, refreshed until Ctrl-C on a terminal, else once. A node's
processor use is of all its cores, a task's of one.`,
		Example: `  piswarm top
  piswarm top --no-stream
  piswarm top --format json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "table" && format != "json" {
				return usageErrorf(cmd, "--format %q: want table or json", format)
			}
			return runTop(cmd.Context(), a, once, format)
		},
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().BoolVar(&once, "no-stream", false, "show it once")
	cmd.Flags().StringVar(&format, "format", "table", "`format`, table, or json, which is what was read and shown once")
	completeFlag(cmd, "format", "table", "json")
	return cmd
}

func runTop(ctx context.Context, a *app, once bool, format string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	before, err := c.Stats(ctx)
	if err != nil {
		return err
	}
	if format == "json" {
		return writeJSON(a.stdout, before)
	}
	screen := newScreen(a.stdout)
	if screen == nil || once {
		if err := pause(ctx, min(sampling, a.pace.settle)); err != nil {
			return err
		}
		now, err := c.Stats(ctx)
		if err != nil {
			return err
		}
		var out bytes.Buffer
		writeTop(&out, before, now, a.width())
		_, err = a.stdout.Write(out.Bytes())
		return err
	}
	for ctx.Err() == nil {
		if err := pause(ctx, sampling); err != nil {
			break
		}
		now, err := c.Stats(ctx)
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			return err
		}
		var out bytes.Buffer
		writeTop(&out, before, now, a.width()-1)
		screen.draw(fitting(screen, out.String()))
		before = now
		if err := pause(ctx, refresh-sampling); err != nil {
			break
		}
	}
	return endOfWatch(ctx)
}

// endOfWatch is how a command ends that a person watches until Ctrl-C.
func endOfWatch(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// fitting are the lines that the screen has room for.
func fitting(s *screen, text string) []string {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	_, height := s.size()
	if most := max(height-1, 1); len(lines) > most {
		hidden := len(lines) - most + 1
		lines = append(lines[:most-1], fmt.Sprintf("… and %s more", plural(hidden, "line")))
	}
	return lines
}

// writeTop writes the nodes in order of name, and the tasks, those first that use the most.
func writeTop(out *bytes.Buffer, before, now []client.NodeStats, width int) {
	was := map[string]client.NodeStats{}
	tasksBefore := map[string]client.TaskStats{}
	for _, n := range before {
		was[n.ID] = n
		for _, t := range n.Tasks {
			tasksBefore[t.Task] = t
		}
	}
	writeColumns(out, width, []string{"NODE", "CPU", "LOAD", "MEMORY", "TEMP", "TASKS", "UP"}, len(now), func(i int) []string {
		n := now[i]
		if n.Error != "" {
			return []string{n.Name, "", "", oneLine(n.Error), "", "", ""}
		}
		temperature := ""
		if n.Temperature > 0 {
			temperature = fmt.Sprintf("%.0f °C", n.Temperature)
		}
		old := was[n.ID]
		return []string{
			n.Name, share(old.CPUNanos, n.CPUNanos, old.Time, n.Time, max(n.CPUs, 1)), fmt.Sprintf("%.2f", n.Load),
			units.BytesSize(float64(n.MemoryBytes)) + " / " + units.BytesSize(float64(n.MemoryTotal)), temperature,
			fmt.Sprint(len(n.Tasks)), units.HumanDuration(time.Duration(n.UptimeSeconds) * time.Second),
		}
	})
	type row struct {
		client.TaskStats
		used uint64 // since the last reading
	}
	var rows []row
	for _, n := range now {
		for _, t := range n.Tasks {
			r := row{TaskStats: t}
			if old, ok := tasksBefore[t.Task]; ok && t.CPUNanos > old.CPUNanos {
				r.used = t.CPUNanos - old.CPUNanos
			}
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 {
		return
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		// What hardly uses anything keeps its place.
		return cmp.Or(-cmp.Compare(a.used/1e7, b.used/1e7), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.Node, b.Node))
	})
	fmt.Fprintln(out)
	writeColumns(out, width, []string{"TASK", "NODE", "CPU", "MEMORY", "PIDS"}, len(rows), func(i int) []string {
		r := rows[i]
		old := tasksBefore[r.Task]
		memory := units.BytesSize(float64(r.MemoryBytes))
		if r.MemoryLimit > 0 {
			memory += " / " + units.BytesSize(float64(r.MemoryLimit))
		}
		return []string{
			taskName(client.Task{Service: r.Service, Slot: r.Slot, Node: r.Node}), r.Node,
			share(old.CPUNanos, r.CPUNanos, old.Time, r.Time, 1), memory, fmt.Sprint(r.Pids),
		}
	})
}

// share is how much of so many processors was used between two readings; empty where there was no first one, or the
// second counts anew.
func share(before, now uint64, from, to time.Time, processors int) string {
	elapsed := to.Sub(from)
	if from.IsZero() || elapsed <= 0 || now < before {
		return ""
	}
	return fmt.Sprintf("%.1f%%", float64(now-before)/float64(elapsed)/float64(processors)*100)
}
