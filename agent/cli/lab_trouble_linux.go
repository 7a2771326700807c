package cli

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/lab"
)

// The commands that bring about what a shelf of Pis meets besides a lost plug or cable.

func newLabSplitCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "split HOST[,HOST...] HOST[,HOST...]...",
		Short: "Part the network into groups",
		Long: `Part the network into groups that do not hear each other. A host that is in no group, such as the laptop, goes on
reaching all. An earlier split is undone.`,
		Example:           `  piswarm lab split pi1,pi2 pi3,pi4,pi5`,
		Args:              minArgs(2, "two groups of hosts, for example pi1,pi2 pi3"),
		ValidArgsFunction: completeNames(labHostNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			var groups [][]string
			for _, arg := range args {
				groups = append(groups, strings.Split(arg, ","))
			}
			l, err := lab.Connect(cmd.Context(), labSocket)
			if err != nil {
				return err
			}
			return l.Split(cmd.Context(), groups...)
		},
		DisableFlagsInUseLine: true,
	}
}

func newLabUnsplitCommand() *cobra.Command {
	return &cobra.Command{
		Use:               "unsplit",
		Short:             "Make the network one again",
		Long:              "Make the network one again. It undoes piswarm lab split.",
		Example:           `  piswarm lab unsplit`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.Connect(cmd.Context(), labSocket)
			if err != nil {
				return err
			}
			return l.Unsplit(cmd.Context())
		},
		DisableFlagsInUseLine: true,
	}
}

func newLabLossCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "loss HOST PERCENT",
		Short: "Make a host lose packets by chance",
		Long: `Make a host lose so many of a hundred packets by chance, in each direction, as bad Wi-Fi does. It lasts, also through
a power cut, until it is set to 0.`,
		Example:           `  piswarm lab loss pi3 10`,
		Args:              exactArgs(2, "a host and a percentage, for example pi3 10"),
		ValidArgsFunction: completeFirst(completeNames(labHostNames)),
		RunE: func(cmd *cobra.Command, args []string) error {
			percent, err := strconv.Atoi(args[1])
			if err != nil || percent < 0 || percent > 100 {
				return usageErrorf(cmd, "%s: want a percentage, 0 to 100", args[1])
			}
			l, err := lab.Connect(cmd.Context(), labSocket)
			if err != nil {
				return err
			}
			return l.Loss(cmd.Context(), args[0], percent)
		},
		DisableFlagsInUseLine: true,
	}
}

func newLabReaddressCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "readdress HOST ADDRESS",
		Short: "Give a host another address from its next start on",
		Long: `Give a host another address from its next start on, as a router does that forgot which address was whose. The host
keeps its MAC.`,
		Example: `  piswarm lab readdress pi2 192.168.77.99
  piswarm lab power-off pi2
  piswarm lab power-on pi2`,
		Args:              exactArgs(2, "a host and an address, for example pi2 192.168.77.99"),
		ValidArgsFunction: completeFirst(completeNames(labHostNames)),
		RunE: func(cmd *cobra.Command, args []string) error {
			addr, err := netip.ParseAddr(args[1])
			if err != nil {
				return usageErrorf(cmd, "%s: want an IP address", args[1])
			}
			l, err := lab.Connect(cmd.Context(), labSocket)
			if err != nil {
				return err
			}
			return l.Readdress(cmd.Context(), args[0], addr)
		},
		DisableFlagsInUseLine: true,
	}
}

func newLabCloneCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "clone FROM TO",
		Short: "Replace a host's disk by a copy of another's",
		Long: `Replace a host's disk by a copy of another's, as one does with the SD card of a Pi that was set up already. Both hosts
have to be off.`,
		Example: `  piswarm lab power-off pi1
  piswarm lab power-off pi2
  piswarm lab clone pi1 pi2`,
		Args:              exactArgs(2, "two hosts, for example pi1 pi2"),
		ValidArgsFunction: completeNames(labHostNames),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := lab.Connect(cmd.Context(), labSocket)
			if err != nil {
				return err
			}
			return l.Clone(cmd.Context(), args[0], args[1])
		},
		DisableFlagsInUseLine: true,
	}
}
