package cli

import (
	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

func newNodeRemoveCommand(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "rm [OPTIONS] NODE...",
		Aliases: []string{"remove"},
		Short:   "Remove nodes from the cluster for good",
		Long: `Remove nodes from the cluster for good: a Pi that broke, was stolen, or whose card was written anew. Their tasks run
elsewhere by then.

A node that is on is taken out with piswarm leave, on that node. With --force it is removed from here: it ends its
tasks when it learns of it. A removed node comes back only by piswarm join, as a new one. Who has stolen a Pi has the
token from its card all the same: piswarm token rotate makes that worthless.`,
		Example: `  piswarm node rm pi3
  piswarm node rm --force pi3`,
		Args:              minArgs(1, "a node, as piswarm node ls names them"),
		ValidArgsFunction: completeNodes(a),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			nodes, err := resolveNodes(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			return removeEach(a, nodes, func(node string) (client.Written, error) {
				return c.RemoveNode(cmd.Context(), node, force)
			})
		},
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "also one that is ready")
	return cmd
}
