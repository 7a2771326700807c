package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/lab"
)

// Where the one lab of a machine's command line is.
const (
	labRunDir = "/run/piswarm-lab"
	labSocket = labRunDir + "/lab.sock"
	labLock   = labRunDir + "/lock"       // held by the process that owns the lab
	labLog    = labRunDir + "/daemon.log" // what that process has to say, which is nothing as long as all is well
	labDir    = "/var/lib/piswarm-lab"    // the disks
)

// labDownWait bounds the wait for the owner's process after it said that the lab has ended.
const labDownWait = 10 * time.Second

func newLabCommand(a *app) *cobra.Command {
	cmd := newGroup("lab", "Run virtual Pis on this machine",
		newLabUpCommand(a),
		newLabExecCommand(a),
		newLabListCommand(a),
		newLabHostCommand("power-off", "Cut the power of a host", "piswarm lab power-off pi2",
			"Everything on the host dies at this instant, as in a power cut. Its disk stays.", (*lab.Remote).PowerOff),
		newLabHostCommand("power-on", "Start a host again, from its disk", "piswarm lab power-on pi2",
			"The command is done when the host is up.", (*lab.Remote).PowerOn),
		newLabHostCommand("shutdown", "Shut a host down in good order", "piswarm lab shutdown pi2",
			"The agent hands its work over and ends, then containerd, then the rest.", (*lab.Remote).Shutdown),
		newLabHostCommand("cut", "Pull the network cable of a host", "piswarm lab cut pi3",
			"The host runs on, without carrier.", (*lab.Remote).Cut),
		newLabHostCommand("heal", "Put the network cable of a host back", "piswarm lab heal pi3",
			"It undoes piswarm lab cut.", (*lab.Remote).Heal),
		newLabSplitCommand(),
		newLabUnsplitCommand(),
		newLabLossCommand(),
		newLabReaddressCommand(),
		newLabCloneCommand(),
		newLabDownCommand(a),
		newLabServeCommand(),
		newLabInitCommand(),
		newLabSweepCommand(),
	)
	cmd.Long = `Run virtual Pis on this machine: pi1, pi2, … with containerd and the agent, and a computer named laptop, on a network
of their own. The machine's own network and files are not touched. It needs root.`
	cmd.Example = `  piswarm lab up --nodes 3
  piswarm lab exec pi1 -- piswarm status
  piswarm lab exec laptop -- curl http://pi2:9000/
  piswarm lab power-off pi2
  piswarm lab down`
	return cmd
}

// newLabHostCommand makes a command that does one thing to one host.
func newLabHostCommand(verb, short, example, more string, do func(*lab.Remote, context.Context, string) error) *cobra.Command {
	return &cobra.Command{
		Use:               verb + " HOST",
		Short:             short,
		Long:              short + ". " + more,
		Example:           "  " + example,
		Args:              exactArgs(1, "a host, for example pi1"),
		ValidArgsFunction: completeFirst(completeNames(labHostNames)),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Connect(cmd.Context(), labSocket)
			if err != nil {
				return err
			}
			return do(l, cmd.Context(), args[0])
		},
		DisableFlagsInUseLine: true,
	}
}

func labHostNames(ctx context.Context) ([]string, error) {
	l, err := lab.Connect(ctx, labSocket)
	if err != nil {
		return nil, err
	}
	hosts, err := l.List(ctx)
	var names []string
	for _, h := range hosts {
		names = append(names, h.Name)
	}
	return names, err
}

// newLabInitCommand is process 1 of a virtual Pi.
func newLabInitCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "init",
		Hidden: true,
		Args:   noArgs,
		Run:    func(*cobra.Command, []string) { lab.InitMain() },
	}
}

// newLabSweepCommand is the process that cleans up after a lab.
func newLabSweepCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "sweep DIR",
		Hidden: true,
		Args:   exactArgs(1, "the lab's directory"),
		RunE:   func(_ *cobra.Command, args []string) error { return lab.SweepMain(args[0]) },
	}
}
