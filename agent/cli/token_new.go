package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/agent/internal/trust"
)

// newTokenNewCommand asks no agent: the cluster of its token does not exist yet.
func newTokenNewCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "new",
		Short: "Print a token for a cluster that is yet to be",
		Long: `Print a token for a cluster that is yet to be. It is made here, and no agent is asked. Nodes whose
piswarm.toml holds it, in the boot partition of an SD card or in /etc/piswarm, become one cluster when they are
switched on. Who has it may enter that cluster: keep it as a password.`,
		Example:           `  piswarm token new`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.stdout, trust.NewSecret().Token())
			return err
		},
		DisableFlagsInUseLine: true,
	}
}
