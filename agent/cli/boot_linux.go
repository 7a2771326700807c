package cli

import (
	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/agent"
)

// newBootCommand is for the unit of the SD image that runs it, not for people.
func newBootCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:    "boot",
		Short:  "Carry over the settings in the SD card's boot partition",
		Hidden: true,
		Long: `Carry over what piswarm.toml in /boot/firmware says to this system: host name, Wi-Fi, ssh keys, time zone and the
agent's settings. Secrets are moved. Mistakes are told on the screen and in piswarm-errors.txt beside the file; each
setting with one stays as it was. The unit piswarm-boot.service of the SD image runs this at each boot.`,
		Args:                  noArgs,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE:                  func(*cobra.Command, []string) error { return agent.Boot(a.stderr) },
		DisableFlagsInUseLine: true,
	}
}
