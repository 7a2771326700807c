package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

func newStackRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rm STACK...",
		Aliases: []string{"remove", "down"},
		Short:   "Remove stacks",
		Long: `Remove stacks: their services, and the secrets, configs and networks that were made with them. Volumes stay.

Of several stacks, those that exist are removed also if another does not.`,
		Example:           `  piswarm stack rm shop`,
		Args:              minArgs(1, oneStack),
		ValidArgsFunction: completeStacks(a),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			var errs []error
			for _, name := range args {
				errs = append(errs, removeStack(cmd.Context(), a, c, name))
			}
			return errors.Join(errs...)
		},
		DisableFlagsInUseLine: true,
	}
}

// stackPart is something of a stack.
type stackPart struct {
	kind, name string
	remove     func(context.Context, string) (client.Written, error)
}

// removeStack removes services first: what they use cannot be removed before.
func removeStack(ctx context.Context, a *app, c *client.Client, name string) error {
	parts, err := stackParts(ctx, c, name)
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		return fmt.Errorf("no stack named %s: piswarm stack ls lists them", name)
	}
	var errs []error
	for _, p := range parts {
		written, err := p.remove(ctx, p.name)
		if notFound(err) {
			continue // someone else was quicker
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		a.warn(written)
		if _, err := fmt.Fprintln(a.stdout, "removed "+p.kind+" "+p.name); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

func stackParts(ctx context.Context, c *client.Client, name string) ([]stackPart, error) {
	var parts []stackPart
	services, err := c.ServiceDetails(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range services {
		if stackOf(s.Spec.Labels) == name {
			parts = append(parts, stackPart{"service", s.Spec.Name, c.RemoveService})
		}
	}
	for _, files := range []struct {
		kind   string
		list   func(context.Context) ([]client.File, error)
		remove func(context.Context, string) (client.Written, error)
	}{{"secret", c.Secrets, c.RemoveSecret}, {"config", c.Configs, c.RemoveConfig}} {
		all, err := files.list(ctx)
		if err != nil {
			return nil, err
		}
		for _, f := range all {
			if stackOf(f.Labels) == name {
				parts = append(parts, stackPart{files.kind, f.Name, files.remove})
			}
		}
	}
	networks, err := c.Networks(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range networks {
		if stackOf(n.Labels) == name {
			parts = append(parts, stackPart{"network", n.Name, c.RemoveNetwork})
		}
	}
	return parts, nil
}
