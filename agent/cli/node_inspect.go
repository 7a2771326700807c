package cli

import (
	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

func newNodeInspectCommand(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] NODE...",
		Short: "Show all that is known of nodes, as JSON",
		Example: `  piswarm node inspect pi1
  piswarm node inspect --format '{{.Description.Kernel}}' pi1`,
		Args:              minArgs(1, "a node, as piswarm node ls names them"),
		ValidArgsFunction: completeNodes(a),
		RunE: func(cmd *cobra.Command, args []string) error {
			return inspect(cmd.Context(), a, args, format, inspector[client.Node]{resolveNodes, (*client.Client).Node, filledNode})
		},
		DisableFlagsInUseLine: true,
	}
	addInspectFlags(cmd, &format)
	return cmd
}
