package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func newScaleCommand(a *app) *cobra.Command {
	var wait waitOptions
	cmd := &cobra.Command{
		Use:   "scale [OPTIONS] SERVICE REPLICAS | SERVICE=REPLICAS...",
		Short: "Change how many tasks services have",
		Example: `  piswarm scale greeters 4
  piswarm scale greeters=4 web=2`,
		ValidArgsFunction: completeServices(a),
		RunE: func(cmd *cobra.Command, args []string) error {
			targets, err := parseScale(args)
			if err != nil {
				return &usageError{cmd, err}
			}
			return runScale(cmd.Context(), a, targets, wait)
		},
		DisableFlagsInUseLine: true,
	}
	wait.addFlags(cmd, "print nothing")
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var unknown *pflag.NotExistError
		if errors.As(err, &unknown) {
			// To a flag parser a negative number is an unknown flag.
			if n, convErr := strconv.Atoi("-" + unknown.GetSpecifiedShortnames()); convErr == nil {
				err = cluster.ValidateReplicas(n)
			}
		}
		return flagError(cmd, err)
	})
	return cmd
}

// scaleTarget is one service and how many tasks it shall have.
type scaleTarget struct {
	service  string
	replicas int
}

// parseScale reads SERVICE REPLICAS or several SERVICE=REPLICAS.
func parseScale(args []string) ([]scaleTarget, error) {
	const want = "want SERVICE REPLICAS or SERVICE=REPLICAS, for example greeters 4"
	if len(args) == 0 {
		return nil, errors.New("no service given: " + want)
	}
	if len(args) == 2 && !strings.Contains(args[0], "=") && !strings.Contains(args[1], "=") {
		args = []string{args[0] + "=" + args[1]}
	}
	seen := map[string]bool{}
	targets := make([]scaleTarget, 0, len(args))
	for _, arg := range args {
		service, number, ok := strings.Cut(arg, "=")
		if !ok || service == "" {
			return nil, fmt.Errorf("%q: %s", arg, want)
		}
		if err := cluster.ValidateServiceName(service); err != nil {
			return nil, err
		}
		if seen[service] {
			return nil, fmt.Errorf("%s is given twice", service)
		}
		seen[service] = true
		n, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("%q is not a number of replicas: %s", number, want)
		}
		if err := cluster.ValidateReplicas(n); err != nil {
			return nil, fmt.Errorf("%s: %w", service, err)
		}
		targets = append(targets, scaleTarget{service, n})
	}
	return targets, nil
}

func runScale(ctx context.Context, a *app, targets []scaleTarget, wait waitOptions) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	targets, err = resolveTargets(ctx, c, targets)
	if err != nil {
		return err
	}
	for _, t := range targets {
		written, err := c.ScaleService(ctx, t.service, t.replicas)
		if err != nil {
			return err
		}
		a.warn(written)
		if err := wait.say(a, fmt.Sprintf("%s scaled to %d", t.service, t.replicas)); err != nil {
			return err
		}
	}
	var problems []error
	for _, t := range targets {
		problems = append(problems, wait.until(ctx, a, c, t.service, toRun))
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(problems...)
}

// resolveTargets names each service and finds what would fail before anything is changed, so that a mistake in one of
// several services never leaves half a change.
func resolveTargets(ctx context.Context, c *client.Client, targets []scaleTarget) ([]scaleTarget, error) {
	services, err := c.Services(ctx)
	if err != nil {
		return nil, err
	}
	modes := map[string]cluster.Mode{}
	for _, s := range services {
		modes[s.Name] = s.Mode
	}
	resolved := make([]scaleTarget, len(targets))
	seen := map[string]bool{}
	for i, t := range targets {
		name, err := resolveOne("service", serviceIdentities(services), t.service)
		if err != nil {
			return nil, err
		}
		mode, ok := modes[name]
		switch {
		case !ok:
			return nil, fmt.Errorf("no service %q: see piswarm ls", name)
		case mode == cluster.ReplicatedJob:
			return nil, fmt.Errorf("%s is a job, whose tasks end: piswarm update --replicas changes how many are to succeed", name)
		case mode != cluster.Replicated:
			return nil, fmt.Errorf("%s is a %s service: only replicated ones have a number of replicas", name, mode)
		case seen[name]:
			return nil, fmt.Errorf("%s is given twice", name)
		}
		seen[name] = true
		resolved[i] = scaleTarget{name, t.replicas}
	}
	return resolved, nil
}
