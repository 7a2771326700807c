package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"
)

func newAgentCommand(a *app) *cobra.Command {
	var o agentOptions
	cmd := &cobra.Command{
		Use:   "agent [OPTIONS]",
		Short: "Run this machine as a node, until told to stop",
		Long: `Run this machine as a node, until it gets SIGTERM or SIGINT. Containers run on when the agent ends; piswarm agent
cleanup ends them too. systemd runs this command as the service piswarm.`,
		Example: `  piswarm agent
  piswarm agent --advertise eth0`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runAgent(cmd.Context(), o)
		},
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().StringVar(&o.advertise, "advertise", "", "`address` or network interface that other nodes reach this one at")
	cmd.AddCommand(&cobra.Command{
		Use:   "cleanup",
		Short: "Remove everything that the agent set up on this machine",
		Long: `Remove everything that the agent set up on this machine: containers, network, firewall rules. The agent must not be
running. What it keeps on disk stays.`,
		Example: `  piswarm agent cleanup`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cleanAgent(cmd.Context())
		},
		DisableFlagsInUseLine: true,
	})
	return cmd
}

// agentOptions are the flags of the agent.
type agentOptions struct {
	advertise string
}

var errNoAgentYet = errors.New("this build has no agent")

func runAgent(context.Context, agentOptions) error { return errNoAgentYet }

func cleanAgent(context.Context) error { return errNoAgentYet }
