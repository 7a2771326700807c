package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

func newDashboardCommand(a *app) *cobra.Command {
	var write bool
	cmd := &cobra.Command{
		Use:   "dashboard [OPTIONS]",
		Short: "Print a link to the page that shows the cluster",
		Long: `Print a link to the page that shows the cluster, live, in a browser. The link signs one browser in, for a day. It works
once, and for a quarter of an hour; each run prints another one. Every node has the page.

The page is not encrypted: on a network that others listen on, take it through ssh (ssh -L 7948:localhost:7948 pi@pi1)
and open the link with localhost in place of the address.`,
		Example: `  piswarm dashboard
  piswarm dashboard --write`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.printing(func(ctx context.Context, c *client.Client) (string, error) {
			link, err := c.Dashboard(ctx, write)
			return link.URL, err
		}),
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().BoolVar(&write, "write", false, "let the browser scale, restart and remove services, and drain nodes")
	return cmd
}
