package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func newRollbackCommand(a *app) *cobra.Command {
	var wait waitOptions
	cmd := &cobra.Command{
		Use:   "rollback [OPTIONS] SERVICE",
		Short: "Take back the last update of a service",
		Long: `Take back the last update of a service and wait until all of its tasks run as before.

Tasks are replaced as the service's --rollback-… options say. The number of replicas stays what it is.`,
		Example:           `  piswarm rollback greeters`,
		Args:              exactArgs(1, "one service"),
		ValidArgsFunction: completeFirst(completeServices(a)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runRollback(cmd.Context(), a, args[0], wait)
		},
		DisableFlagsInUseLine: true,
	}
	wait.addFlags(cmd, "print nothing")
	return cmd
}

func runRollback(ctx context.Context, a *app, service string, wait waitOptions) error {
	c, names, err := connectTo(ctx, a, service)
	if err != nil {
		return err
	}
	written, err := c.RollbackService(ctx, names[0])
	if err != nil {
		return err
	}
	a.warn(written)
	if err := wait.say(a, names[0]); err != nil {
		return err
	}
	return wait.until(ctx, a, c, names[0], toRollBack)
}
