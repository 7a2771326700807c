package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/moby/term"
	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func newStatusCommand(a *app) *cobra.Command {
	var format string
	var watch bool
	cmd := &cobra.Command{
		Use:   "status [OPTIONS]",
		Short: "Show the cluster on one screen: nodes, services, and what does not run",
		Example: `  piswarm status
  piswarm status -w
  piswarm status --format json
  piswarm status --format '{{.Leader}}'`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return watchStatus(cmd.Context(), a, format)
			}
			return runStatus(cmd.Context(), a, format)
		},
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().StringVar(&format, "format", "table", "`format`, table, json, or a Go template")
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it anew after each change, until Ctrl-C")
	completeFlag(cmd, "format", "table", "json")
	return cmd
}

func runStatus(ctx context.Context, a *app, format string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	out, err := renderStatus(ctx, a, c, format)
	if err != nil {
		return err
	}
	_, err = a.stdout.Write(out)
	return err
}

// watchStatus draws the screen in place on a terminal; elsewhere it prints what differs from what it printed last.
func watchStatus(ctx context.Context, a *app, format string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	screen := newScreen(a.stdout)
	var last []byte
	heard := a.now()
	err = eachChange(ctx, a, c, func() error {
		out, err := renderStatus(ctx, a, c, format)
		var answer *client.Error
		switch {
		case err != nil && !errors.As(err, &answer) && last != nil && a.now().Sub(heard) < a.pace.lost:
			return nil // the agent may be restarting
		case err != nil:
			return err
		}
		heard = a.now()
		if bytes.Equal(out, last) {
			return nil
		}
		first := last == nil
		last = out
		if screen != nil && format == "table" {
			screen.draw(fitting(screen, string(out)))
			return nil
		}
		if !first && format == "table" {
			out = append([]byte("\n"), out...)
		}
		_, err = a.stdout.Write(out)
		return err
	})
	if ctx.Err() != nil {
		return endOfWatch(ctx)
	}
	return err
}

func renderStatus(ctx context.Context, a *app, c *client.Client, format string) ([]byte, error) {
	status, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	switch format {
	case "json":
		if err := writeJSON(&out, filledStatus(status)); err != nil {
			return nil, err
		}
	case "table":
		tasks, err := c.Tasks(ctx, "")
		if err != nil {
			return nil, err
		}
		writeStatus(&out, status, tasks, a.width())
	default:
		tmpl, err := newTemplate(format)
		if err != nil {
			return nil, err
		}
		if err := tmpl.Execute(&out, status); err != nil {
			return nil, templateError(err)
		}
		out.WriteByte('\n')
	}
	return out.Bytes(), nil
}

// width is how wide a screen may be: that of the terminal, or the classical one.
func (a *app) width() int {
	if f, ok := a.stdout.(*os.File); ok && term.IsTerminal(f.Fd()) {
		width, _ := terminalSize(f)
		return max(width, 40)
	}
	return 80
}

// writeStatus writes the screen for people, no line wider than width.
func writeStatus(out *bytes.Buffer, s client.Status, tasks []client.Task, width int) {
	// A node that has just joined has not heard of either.
	fmt.Fprintf(out, "cluster %s, leader %s, %s\n\n", cmp.Or(s.Cluster, "without a name yet"), cmp.Or(s.Leader, "none yet"), nodeCount(s.Nodes))

	writeColumns(out, width, []string{"NODE", "ADDRESS", "STATE", "AVAILABILITY", "PLATFORM", "TASKS"}, len(s.Nodes), func(i int) []string {
		n := s.Nodes[i]
		return []string{n.Name, n.Address, string(n.State), string(n.Availability), platformString(n.OS, n.Arch, n.Variant), fmt.Sprint(n.Tasks)}
	})
	for _, n := range s.Nodes {
		for _, w := range n.Warnings {
			writeWrapped(out, width, "! "+n.Name+": "+oneLine(w))
		}
	}
	fmt.Fprintln(out)
	if len(s.Services) == 0 {
		fmt.Fprintln(out, "No services yet: piswarm create --name web --publish 80:80 nginx")
		return
	}
	writeColumns(out, width, []string{"SERVICE", "MODE", "RUNNING", "IMAGE", "PORTS"}, len(s.Services), func(i int) []string {
		s := s.Services[i]
		return []string{s.Name, string(s.Mode), countString(s), familiar(s.Image), portsString(s.Ports)}
	})
	for _, s := range s.Services {
		if word := updateString(s.Update.State); word != "" {
			writeWrapped(out, width, strings.TrimSuffix("! "+s.Name+" "+word+": "+oneLine(s.Update.Message), ": "))
		}
	}
	for _, line := range notRunning(tasks) {
		writeWrapped(out, width, "! "+line)
	}
}

// nodeCount is "3 nodes", or "2 of 3 nodes ready".
func nodeCount(nodes []client.NodeStatus) string {
	ready := 0
	for _, n := range nodes {
		if n.State == cluster.Ready {
			ready++
		}
	}
	if ready == len(nodes) {
		return plural(len(nodes), "node")
	}
	return fmt.Sprintf("%d of %s ready", ready, plural(len(nodes), "node"))
}

// notRunning says which tasks that shall run do not, or failed for good, and why, those with the same reason in one line.
func notRunning(tasks []client.Task) []string {
	type trouble struct{ service, what string }
	var order []trouble
	names := map[trouble][]string{}
	for _, t := range tasks {
		givenUp := over(t) && t.State == cluster.Failed
		if !givenUp && (!wanted(t) || t.State == cluster.Running) {
			continue
		}
		what := string(t.State)
		if t.Error != "" {
			what += ": " + oneLine(t.Error)
		}
		k := trouble{t.Service, what}
		if names[k] == nil {
			order = append(order, k)
		}
		names[k] = append(names[k], taskName(t))
	}
	lines := make([]string, len(order))
	for i, k := range order {
		lines[i] = enumerate(names[k]) + " " + k.what
	}
	return lines
}

// writeColumns writes aligned columns. Where they are too wide together, the widest are cut.
func writeColumns(out *bytes.Buffer, width int, header []string, rows int, row func(int) []string) {
	const gap = 2
	table := [][]string{header}
	for i := range rows {
		cells := row(i)
		for j := range cells {
			cells[j] = oneLine(cells[j])
		}
		table = append(table, cells)
	}
	widths := make([]int, len(header))
	total := gap * (len(header) - 1)
	for j := range header {
		for _, cells := range table {
			widths[j] = max(widths[j], len([]rune(cells[j])))
		}
		total += widths[j]
	}
	for ; total > width; total-- {
		widths[slices.Index(widths, slices.Max(widths))]--
	}
	for _, cells := range table {
		var line strings.Builder
		for j, cell := range cells {
			fmt.Fprintf(&line, "%-*s", widths[j]+gap, shorten(cell, widths[j]))
		}
		fmt.Fprintln(out, strings.TrimRight(line.String(), " "))
	}
}

// writeWrapped writes text in lines no wider than width, at blanks; all but the first are indented.
func writeWrapped(out *bytes.Buffer, width int, text string) {
	const indent = "  "
	line := ""
	for _, word := range strings.Fields(text) {
		word = shorten(word, width-len(indent))
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) > width:
			fmt.Fprintln(out, line)
			line = indent + word
		default:
			line += " " + word
		}
	}
	fmt.Fprintln(out, line)
}
