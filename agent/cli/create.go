package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/cluster"
)

func newCreateCommand(a *app) *cobra.Command {
	var o createOptions
	var wait waitOptions
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] IMAGE [COMMAND] [ARG...]",
		Short: "Create a service",
		Long: `Create a service and wait until its tasks run, or, for a job, until they are complete.

The image's name is resolved once, so that every node runs the same bytes. Exit code 2 says that the service exists
but that some of its tasks could not be placed or do not stay up; the line on stderr says why.`,
		Example: `  piswarm create --name greeters --publish 9000:5000 --replicas 2 greeter
  piswarm create --name lamp --mode global --device /dev/gpiomem lamp:1.2
  piswarm create --name web --limit-memory 64m --constraint node.labels.room==kitchen -p 80:80 nginx
  piswarm create --name api --health-http /healthz --update-order start-first --update-failure-action rollback -p 8080:80 api
  piswarm create --name backup --mode replicated-job --restart-max-attempts 3 backup:2`,
		Args:              minArgs(1, "an image, for example nginx:1.27"),
		ValidArgsFunction: completeFirst(completeImages(a)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := misplacedPort(cmd, args); err != nil {
				return err
			}
			spec, err := o.spec(args[0], args[1:])
			if err != nil {
				return &usageError{cmd, err}
			}
			return runCreate(cmd.Context(), a, spec, wait)
		},
		DisableFlagsInUseLine: true,
	}
	// What follows the image belongs to the container, dashes and all.
	cmd.Flags().SetInterspersed(false)
	o.addFlags(cmd)
	completeFileFlags(cmd, a, "")
	wait.addFlags(cmd, "print only the service's ID")
	return cmd
}

func runCreate(ctx context.Context, a *app, spec cluster.Spec, wait waitOptions) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	written, err := c.CreateService(ctx, spec)
	if err != nil {
		return err
	}
	a.warn(written)
	if _, err := fmt.Fprintln(a.stdout, written.ID); err != nil {
		return err
	}
	return wait.until(ctx, a, c, spec.Name, toRun)
}
