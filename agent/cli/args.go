package cli

import (
	"github.com/spf13/cobra"
)

// noArgs, minArgs and exactArgs check the number of arguments and say in the command's own words what is missing.

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageErrorf(cmd, "%s takes no arguments, but got %q", cmd.CommandPath(), args[0])
	}
	return nil
}

func minArgs(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < n {
			return usageErrorf(cmd, "%s needs %s", cmd.CommandPath(), what)
		}
		return nil
	}
}

func exactArgs(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < n {
			return usageErrorf(cmd, "%s needs %s", cmd.CommandPath(), what)
		}
		if len(args) > n {
			return usageErrorf(cmd, "%s takes %s, but got also %q", cmd.CommandPath(), what, args[n])
		}
		return nil
	}
}
