package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newLeaveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "leave",
		Short:             "Take this node out of its cluster",
		Long:              `Take this node out of its cluster. Its tasks end here and are placed on other nodes.`,
		Example:           `  piswarm leave`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			written, err := c.Leave(cmd.Context())
			if err != nil {
				return err
			}
			a.warn(written)
			_, err = fmt.Fprintln(a.stdout, "This node has left the cluster.")
			return err
		},
		DisableFlagsInUseLine: true,
	}
}
