package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

func newEventsCommand(a *app) *cobra.Command {
	var format string
	var filters []string
	cmd := &cobra.Command{
		Use:   "events [OPTIONS]",
		Short: "Show what happens in the cluster, from now on",
		Long:  `Show what happens in the cluster, from now on, until Ctrl-C: to services, tasks, nodes, secrets and configs.`,
		Example: `  piswarm events
  piswarm events --filter kind=task --filter service=greeters
  piswarm events --format json`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := parseFilter(filters, eventMatchers)
			if err != nil {
				return &usageError{cmd, err}
			}
			return runEvents(cmd.Context(), a, f, format)
		},
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().StringVar(&format, "format", "table", "`format`, table, json (one object a line), or a Go template")
	cmd.Flags().StringArrayVarP(&filters, "filter", "f", nil, "show only what matches `KEY=VALUE`, KEY one of "+strings.Join(filterKeys(eventMatchers), ", "))
	completeFlag(cmd, "format", "table", "json")
	return cmd
}

var eventMatchers = map[string]matcher[client.Event]{
	"kind":   func(e client.Event, v string) bool { return e.Kind == v },
	"action": func(e client.Event, v string) bool { return e.Action == v },
	"name":   func(e client.Event, v string) bool { return strings.HasPrefix(e.Name, v) },
	"node":   func(e client.Event, v string) bool { return e.Node == v || e.Kind == "node" && e.Name == v },
	"service": func(e client.Event, v string) bool {
		return e.Service == v || e.Kind == "service" && e.Name == v
	},
}

func runEvents(ctx context.Context, a *app, f filter[client.Event], format string) error {
	write, err := eventWriter(format)
	if err != nil {
		return err
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	events, err := c.Events(ctx)
	if err != nil {
		return err
	}
	defer events.Close()
	for {
		event, err := events.Next()
		switch {
		case errors.Is(ctx.Err(), context.Canceled):
			return nil // the user has seen enough
		case err != nil:
			return err
		case event.Action == "" || !f.keeps(event):
			continue // a mere sign that something may have changed, which tells people nothing
		}
		var line bytes.Buffer
		if err := write(&line, event); err != nil {
			return err
		}
		if _, err := a.stdout.Write(line.Bytes()); err != nil {
			return err
		}
	}
}

func eventWriter(format string) (func(*bytes.Buffer, client.Event) error, error) {
	switch format {
	case "json":
		return func(w *bytes.Buffer, e client.Event) error { return writeJSON(w, e) }, nil
	case "table":
		return func(w *bytes.Buffer, e client.Event) error {
			fmt.Fprintln(w, eventLine(e))
			return nil
		}, nil
	}
	tmpl, err := newTemplate(format)
	if err != nil {
		return nil, err
	}
	return func(w *bytes.Buffer, e client.Event) error {
		if err := tmpl.Execute(w, e); err != nil {
			return templateError(err)
		}
		w.WriteByte('\n')
		return nil
	}, nil
}

// eventLine is for example 2026-01-02T15:04:05.000Z task running greeters.1 on pi1.
func eventLine(e client.Event) string {
	line := strings.Join([]string{e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), e.Kind, e.Action, e.Name}, " ")
	if e.Node != "" {
		line += " on " + e.Node
	}
	if e.Text != "" {
		line += ": " + e.Text
	}
	return oneLine(line)
}

// eachChange calls f at first, after each change of the cluster, and now and then, until ctx ends.
func eachChange(ctx context.Context, a *app, c *client.Client, f func() error) error {
	ctx, cancel := context.WithCancel(ctx)
	changes := &follower{client: c, pace: a.pace, changed: make(chan struct{}, 1)}
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		changes.listen(ctx)
	}()
	defer func() {
		cancel()
		<-listening
	}()
	for {
		if err := f(); err != nil {
			return err
		}
		if err := pause(ctx, a.pace.gap); err != nil {
			return err
		}
		slow := time.NewTimer(refresh)
		select {
		case <-ctx.Done():
		case <-changes.changed:
		case <-slow.C:
		}
		slow.Stop()
	}
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
