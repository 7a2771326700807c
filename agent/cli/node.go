package cli

import "github.com/spf13/cobra"

func newNodeCommand(a *app) *cobra.Command {
	cmd := newGroup("node", "Manage nodes", newNodeListCommand(a), newNodeInspectCommand(a), newNodeUpdateCommand(a), newNodeRemoveCommand(a))
	cmd.Example = `  piswarm node ls
  piswarm node update --availability drain pi2`
	return cmd
}
