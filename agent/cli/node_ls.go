package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

func newNodeListCommand(a *app) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:     "ls [OPTIONS]",
		Aliases: []string{"list"},
		Short:   "List nodes",
		Long: `List nodes, also those of the network that are in no cluster: they are waiting, and piswarm node add admits one.

Anyone on the network can say that it waits, so nothing counts on it, and --quiet leaves those nodes out unless
--filter state=waiting asks for them.`,
		Example: `  piswarm node ls
  piswarm node ls --filter label=room=kitchen
  piswarm node ls --format '{{.Name}} {{.Address}}'`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runNodeList(cmd, a, o)
		},
		DisableFlagsInUseLine: true,
	}
	addListFlags(cmd, &o, "IDs", filterKeys(nodeMatchers(nil)))
	return cmd
}

func runNodeList(cmd *cobra.Command, a *app, o listOptions) error {
	details := map[string]client.Node{}
	f, err := parseFilter(o.filters, nodeMatchers(details))
	if err != nil {
		return &usageError{cmd, err}
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	nodes, err := c.Nodes(cmd.Context())
	if err != nil {
		return err
	}
	if f.asks("label") || f.asks("role") {
		if err := readNodes(cmd.Context(), c, nodes, details); err != nil {
			return err
		}
	}
	members := f.apply(nodes)
	var waiting []client.NodeStatus
	if !o.quiet || f.asks("state") {
		if waiting, err = c.Waiting(cmd.Context()); err != nil && !notFound(err) { // an agent that was not restarted since
			return err
		}
		waiting = f.apply(waiting)
	}
	if err := nodeList(o.noTrunc).print(a.stdout, o, append(members, waiting...)); err != nil {
		return err
	}
	if len(waiting) > 0 && o.format == "table" && !o.quiet {
		fmt.Fprintf(a.stderr, "To admit a node that is waiting: piswarm node add pi@%s\n", oneLine(waiting[0].Address))
	}
	return nil
}

// nodeMatchers returns what nodes are filtered by; details are those of each node, by its ID.
func nodeMatchers(details map[string]client.Node) map[string]matcher[client.NodeStatus] {
	return map[string]matcher[client.NodeStatus]{
		"id":    func(n client.NodeStatus, v string) bool { return strings.HasPrefix(n.ID, v) },
		"label": func(n client.NodeStatus, v string) bool { return hasLabel(details[n.ID].Labels, v) },
		"name":  func(n client.NodeStatus, v string) bool { return strings.HasPrefix(n.Name, v) },
		"role":  func(n client.NodeStatus, v string) bool { return string(details[n.ID].Role) == v },
		"state": func(n client.NodeStatus, v string) bool { return string(n.State) == v },
	}
}

// readNodes asks for each node, because the list carries neither labels nor roles. A node that has gone meanwhile
// has none.
func readNodes(ctx context.Context, c *client.Client, nodes []client.NodeStatus, into map[string]client.Node) error {
	for _, n := range nodes {
		detail, err := c.Node(ctx, n.ID)
		if notFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		into[n.ID] = detail
	}
	return nil
}

func nodeList(whole bool) list[client.NodeStatus] {
	return list[client.NodeStatus]{
		columns: []column[client.NodeStatus]{
			{name: "ID", header: "ID", cell: func(n client.NodeStatus) string { return shortID(n.ID, whole) }},
			{name: "Name", header: "NAME", cell: func(n client.NodeStatus) string { return n.Name }},
			{name: "Address", header: "ADDRESS", cell: func(n client.NodeStatus) string { return n.Address }},
			{name: "Status", header: "STATUS", cell: func(n client.NodeStatus) string { return capitalised(string(n.State)) }},
			{name: "Availability", header: "AVAILABILITY", cell: func(n client.NodeStatus) string { return capitalised(string(n.Availability)) }},
			{name: "Leader", header: "LEADER", cell: func(n client.NodeStatus) string {
				if n.Leader {
					return "Leader"
				}
				return ""
			}},
			{name: "Platform", header: "PLATFORM", cell: func(n client.NodeStatus) string { return platformString(n.OS, n.Arch, n.Variant) }},
			{name: "Tasks", header: "TASKS", cell: func(n client.NodeStatus) string { return fmt.Sprint(n.Tasks) }},
			{name: "Warnings", header: "WARNINGS", cell: func(n client.NodeStatus) string { return strings.Join(n.Warnings, "; ") }, hidden: true},
		},
		fill: filledNodeStatus,
		id:   func(n client.NodeStatus) string { return shortID(n.ID, whole) },
	}
}
