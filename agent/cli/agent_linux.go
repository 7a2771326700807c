package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/agent"
)

func newAgentCommand(a *app) *cobra.Command {
	var o agentOptions
	cmd := &cobra.Command{
		Use:   "agent [OPTIONS]",
		Short: "Run this machine as a node, until told to stop",
		Long: `Run this machine as a node, until it gets a signal. SIGTERM says that the machine is going down: the agent hands its
tasks over to the other nodes, which may take 40 seconds, and ends. SIGINT ends only the agent: containers run on, and
answer, until it is back. piswarm agent cleanup ends them too. systemd runs this command as the service piswarm.`,
		Example: `  piswarm agent
  piswarm agent --advertise eth0`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			vip, err := o.floating()
			if err != nil {
				return &usageError{cmd, err}
			}
			return agent.Run(cmd.Context(), agent.Options{
				Paths: agent.DefaultPaths, Advertise: o.advertise, VIP: vip, Shutdown: ErrTerminated,
				Log: agentLog(a.stderr, o.debug),
			})
		},
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().StringVar(&o.advertise, "advertise", "", "`address` or network interface that other nodes reach this one at")
	cmd.Flags().StringVar(&o.vip, "vip", "", "`address` of the network that the leader has besides its own, the same for all nodes")
	cmd.Flags().BoolVar(&o.debug, "debug", false, "log what is of use only when looking for a fault")
	cmd.AddCommand(&cobra.Command{
		Use:   "cleanup",
		Short: "Remove everything that the agent set up on this machine",
		Long: `Remove everything that the agent set up on this machine: containers, network, firewall rules. The agent must not be
running. What it keeps on disk stays.`,
		Example: `  piswarm agent cleanup`,
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cleanAgent(cmd.Context(), a)
		},
		DisableFlagsInUseLine: true,
	}, &cobra.Command{
		Use:    "upgrade",
		Short:  "Exchange piswarm for what an upgrade has brought",
		Hidden: true, // for the unit piswarm-upgrade.service, not for people
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return agent.Upgrade(cmd.Context(), agent.DefaultPaths, agentLog(a.stderr, false))
		},
		DisableFlagsInUseLine: true,
	})
	return cmd
}

// agentOptions are the flags of the agent.
type agentOptions struct {
	advertise string
	vip       string
	debug     bool
}

// floating is the address of --vip, if there is one.
func (o agentOptions) floating() (netip.Addr, error) {
	if o.vip == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(o.vip)
	if err == nil {
		err = agent.CheckVIP(a)
	}
	if err != nil {
		return netip.Addr{}, fmt.Errorf("--vip: %w", err)
	}
	return a, nil
}

func cleanAgent(ctx context.Context, a *app) error {
	return agent.Cleanup(ctx, agent.DefaultPaths, agentLog(a.stderr, false))
}

// agentLog writes for the journal, which adds the time by itself.
func agentLog(w io.Writer, debug bool) *slog.Logger {
	level := slog.LevelInfo
	if debug {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, attr slog.Attr) slog.Attr {
			if attr.Key == slog.TimeKey && len(groups) == 0 {
				return slog.Attr{}
			}
			return attr
		},
	}))
}
