package cli

import "github.com/spf13/cobra"

func newNodeCommand(a *app) *cobra.Command {
	cmd := newGroup("node", "Manage nodes", newNodeAddCommand(a), newNodeListCommand(a), newNodeInspectCommand(a), newNodeUpdateCommand(a), newNodeRemoveCommand(a))
	cmd.Example = `  piswarm node ls
  piswarm node add pi@192.168.1.23
  piswarm node update --availability drain pi2`
	return cmd
}
