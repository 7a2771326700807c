package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

func newTokenCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print the secret that lets nodes into the cluster, or change it",
		Example: `  piswarm token
  piswarm token | ssh pi@pi4 piswarm join --token-file -
  piswarm token rotate`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.printing(func(ctx context.Context, c *client.Client) (string, error) {
			token, err := c.Token(ctx)
			return token.Token, err
		}),
		DisableFlagsInUseLine: true,
	}
	cmd.AddCommand(newTokenRotateCommand(a), newTokenNewCommand(a), newTokenMetricsCommand(a))
	return cmd
}

// printing is what a command does that prints the line which the agent answers with.
func (a *app) printing(ask func(context.Context, *client.Client) (string, error)) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		line, err := ask(cmd.Context(), c)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.stdout, line)
		return err
	}
}

func newTokenMetricsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Print the token by which Prometheus reads the nodes' metrics",
		Long: `Print the token by which Prometheus reads the nodes' metrics, as a bearer token, at http://NODE:7948/metrics. It is the
same on every node, lets nobody do anything else, and changes with the cluster's token (piswarm token rotate).`,
		Example:           `  piswarm token metrics > /etc/prometheus/piswarm.token`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.printing(func(ctx context.Context, c *client.Client) (string, error) {
			token, err := c.MetricsToken(ctx)
			return token.Token, err
		}),
		DisableFlagsInUseLine: true,
	}
}

func newTokenRotateCommand(a *app) *cobra.Command {
	var quiet bool
	cmd := &cobra.Command{
		Use:   "rotate [OPTIONS]",
		Short: "Change the cluster's token, and print the new one",
		Long: `Change the cluster's token, and print the new one. All nodes that are on get it; services go on as if nothing were. The
old token lets nobody in any more. A node that is off meanwhile needs the new one when it is back: it says so, and
piswarm join with the new token on it brings it back as the node that it was.

To lock out a Pi that was stolen, remove it first: piswarm node rm --force NODE, then piswarm token rotate. Every node
that gets the new token is named: if one of them is not yours, remove it and change the token again.

If the command or a node breaks off half-way, both tokens hold. Run it again, on any node.`,
		Example: `  piswarm token rotate
  piswarm token rotate -q | ssh pi@pi4 piswarm join --token-file -`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			end, err := c.RotateToken(cmd.Context(), func(p client.Progress) {
				if !quiet {
					fmt.Fprintln(a.stderr, p.Message)
				}
			})
			if err != nil {
				return err
			}
			if !quiet {
				fmt.Fprintf(a.stderr, "The token was changed on %s: %s\n", plural(len(end.Nodes), "node"), strings.Join(end.Nodes, ", "))
			}
			if len(end.Missing) > 0 {
				a.warn(client.Written{Warning: "off, and in need of the new token (piswarm join on each): " + strings.Join(end.Missing, ", ")})
			}
			if len(end.Behind) > 0 {
				a.warn(client.Written{Warning: "these stopped answering and may accept the old token until they have met the others again: " + strings.Join(end.Behind, ", ")})
			}
			_, err = fmt.Fprintln(a.stdout, end.Token)
			return err
		},
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print only the new token")
	return cmd
}
