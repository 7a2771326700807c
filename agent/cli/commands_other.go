//go:build !linux

package cli

import "github.com/spf13/cobra"

// machineCommands are none: a node runs on Linux only. The command line talks to one.
func machineCommands(*app) []*cobra.Command { return nil }
