package cli

import "github.com/spf13/cobra"

// newServiceCommand returns `piswarm service`, docker's long form of the commands on services.
func newServiceCommand(a *app) *cobra.Command {
	cmd := newGroup("service", "Manage services", serviceCommands(a)...)
	cmd.Example = `  piswarm service create --name greeters --publish 9000:5000 greeter
  piswarm service ls`
	return cmd
}

// serviceCommands returns a new copy of the commands on services; cobra wants one for each place they are found at.
func serviceCommands(a *app) []*cobra.Command {
	return []*cobra.Command{
		newCreateCommand(a),
		newServiceListCommand(a),
		newTaskListCommand(a),
		newServiceInspectCommand(a),
		newScaleCommand(a),
		newUpdateCommand(a),
		newRollbackCommand(a),
		newLogsCommand(a),
		newServiceRemoveCommand(a),
	}
}
