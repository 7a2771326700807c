package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newTokenCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "token",
		Short: "Print the secret that lets nodes into the cluster",
		Example: `  piswarm token
  piswarm token | ssh pi@pi4 piswarm join --token-file -`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			token, err := c.Token(cmd.Context())
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(a.stdout, token.Token)
			return err
		},
		DisableFlagsInUseLine: true,
	}
}
