package cli

import "github.com/spf13/cobra"

// machineCommands are those that run a node, or many virtual ones, on this machine.
func machineCommands(a *app) []*cobra.Command {
	return []*cobra.Command{newAgentCommand(a), newDoctorCommand(a), newBootCommand(a), newLabCommand(a)}
}
