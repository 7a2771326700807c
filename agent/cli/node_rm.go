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
		Short:   "Forget nodes that are gone for good",
		Long: `Forget nodes that are gone for good: a Pi that broke, or whose card was written anew. Their tasks run elsewhere by then.

A node that is on is taken out with piswarm leave, on that node. If it is only forgotten, it becomes a member again by
itself, without its labels and its availability.`,
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
