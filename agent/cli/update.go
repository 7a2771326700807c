package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func newUpdateCommand(a *app) *cobra.Command {
	var o updateOptions
	var wait waitOptions
	cmd := &cobra.Command{
		Use:   "update [OPTIONS] SERVICE",
		Short: "Change a service",
		Long: `Change a service and wait until all of its tasks run as it says now.

Tasks are replaced as the service's --update-… options say, by default one at a time. What no container knows of, such
as the number of replicas, published ports, constraints and labels, changes without a new container. Interrupting the
wait leaves the update going. Exit code 2 says that the update is paused or was rolled back, or that some tasks could
not be placed or do not stay up; the line on stderr says why.`,
		Example: `  piswarm update --image greeter:2 greeters
  piswarm update --env-add LANG=de --env-rm DEBUG --update-parallelism 2 greeters
  piswarm update --force greeters
  piswarm update --rollback greeters`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				if err := misplacedPort(cmd, args); err != nil {
					return err
				}
			}
			return exactArgs(1, "one service")(cmd, args)
		},
		ValidArgsFunction: completeFirst(completeServices(a)),
		RunE: func(cmd *cobra.Command, args []string) error {
			change, err := o.change()
			if err != nil {
				return &usageError{cmd, err}
			}
			if o.rollback {
				return runRollback(cmd.Context(), a, args[0], wait)
			}
			return runUpdate(cmd.Context(), a, args[0], change, wait)
		},
		DisableFlagsInUseLine: true,
	}
	o.addFlags(cmd)
	completeFlagBy(cmd, "image", completeImages(a))
	completeFileFlags(cmd, a, "-add", "-rm")
	wait.addFlags(cmd, "print nothing")
	return cmd
}

// changeTries is how often a change is tried on what the service is by then.
const changeTries = 5

func runUpdate(ctx context.Context, a *app, service string, change change, wait waitOptions) error {
	c, names, err := connectTo(ctx, a, service)
	if err != nil {
		return err
	}
	name := names[0]
	for try := 1; ; try++ {
		s, err := c.Service(ctx, name)
		if err != nil {
			return err
		}
		spec, differs, err := applied(change, s.Spec)
		if err != nil {
			return err
		}
		if !differs {
			return wait.say(a, name+": nothing to change")
		}
		written, err := c.UpdateService(ctx, name, client.ServiceUpdate{Spec: spec, Version: s.Version})
		if conflicting(err) && try < changeTries && overtaken(ctx, c, name, s.Version) {
			continue
		}
		if err != nil {
			return err
		}
		a.warn(written)
		if err := wait.say(a, name); err != nil {
			return err
		}
		return wait.until(ctx, a, c, name, toUpdate)
	}
}

// connectTo returns the client, and the services' names for the words that the user wrote.
func connectTo(ctx context.Context, a *app, services ...string) (*client.Client, []string, error) {
	c, err := a.connect()
	if err != nil {
		return nil, nil, err
	}
	names, err := resolveServices(ctx, c, services)
	return c, names, err
}

// applied returns the spec with the change, and whether it is another one then.
func applied(change change, old cluster.Spec) (spec cluster.Spec, differs bool, err error) {
	spec = old.WithDefaults()
	before, err := json.Marshal(spec)
	if err != nil {
		return spec, false, err
	}
	if err := change(&spec); err != nil {
		return spec, false, fmt.Errorf("service %s: %w", spec.Name, err)
	}
	spec = spec.WithDefaults()
	if err := spec.Validate(); err != nil {
		return spec, false, err
	}
	after, err := json.Marshal(spec)
	return spec, string(before) != string(after), err
}

// conflicting tells whether the agent refused a write because of something else that exists.
func conflicting(err error) bool {
	var answer *client.Error
	return errors.As(err, &answer) && answer.Status == http.StatusConflict
}

// overtaken tells whether someone else has changed the service since that version.
func overtaken(ctx context.Context, c *client.Client, service, version string) bool {
	s, err := c.Service(ctx, service)
	return err == nil && s.Version != version
}
