package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func newInitCommand(a *app) *cobra.Command {
	var init client.Init
	cmd := &cobra.Command{
		Use:   "init [OPTIONS]",
		Short: "Make a new cluster with this node as its first",
		Example: `  piswarm init --name home
  piswarm init --pool 10.90.0.0/16`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkInit(init); err != nil {
				return &usageError{cmd, err}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			token, err := c.Init(cmd.Context(), init)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, `The cluster %s is made, with this node as its first.

To add another node, run this on it:

    piswarm join --token %s

Who has the token can read and change everything. piswarm token shows it again.
`, init.Name, token.Token)
			return err
		},
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().StringVar(&init.Name, "name", "home", "`name` of the cluster")
	cmd.Flags().StringVar(&init.Pool, "pool", cluster.DefaultPool, "`network` of the containers; each node takes a /24 of it")
	return cmd
}

// checkInit refuses what no cluster can have, before anything is made.
func checkInit(init client.Init) error {
	// The agent takes for a cluster's name what it takes for a node's.
	if cluster.ValidateNodeName(init.Name) != nil {
		return fmt.Errorf("--name %q: want letters, digits, -, _ and dots, at most 63 of them, for example home", init.Name)
	}
	_, err := cluster.ParsePool(init.Pool)
	return err
}
