package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/agent/cli/compose"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func newStackDeployCommand(a *app) *cobra.Command {
	var files []string
	var prune bool
	var wait waitOptions
	cmd := &cobra.Command{
		Use:     "deploy [OPTIONS] STACK",
		Aliases: []string{"up"},
		Short:   "Make the services of a compose file, or change them to what it says",
		Long: `Make the services of a compose file, or change them to what it says, and wait until they run. Secrets, configs and
networks of the file are made first. All are named STACK_NAME, as docker's are.

What the file asks for and piswarm does not have is refused, and nothing is changed then; what a service runs as well
without is warned about.`,
		Example: `  piswarm stack deploy -c compose.yaml shop
  piswarm stack deploy -c compose.yaml -c production.yaml --prune shop`,
		Args:              exactArgs(1, "a name for the stack, for example -c compose.yaml shop"),
		ValidArgsFunction: completeFirst(completeStacks(a)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(files) == 0 {
				return usageErrorf(cmd, "deploy needs a compose file: -c compose.yaml")
			}
			return runStackDeploy(cmd.Context(), a, args[0], files, prune, wait)
		},
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().StringArrayVarP(&files, "compose-file", "c", nil, "compose `file`, - for standard input; later ones go over earlier ones")
	cmd.Flags().BoolVar(&prune, "prune", false, "remove services of the stack that the file does not have any more")
	wait.addFlags(cmd, "print only what goes wrong")
	return cmd
}

func runStackDeploy(ctx context.Context, a *app, name string, files []string, prune bool, wait waitOptions) error {
	stack, err := compose.Load(ctx, name, files, a.stdin, os.Environ())
	if err != nil {
		return err
	}
	for _, warning := range stack.Warnings {
		fmt.Fprintln(a.stderr, "warning: "+oneLine(warning))
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	d := &deployment{app: a, client: c, name: name, stack: stack, wait: wait}
	if err := d.look(ctx); err != nil {
		return err
	}
	if err := d.makeParts(ctx); err != nil {
		return err
	}
	for _, spec := range stack.Services {
		if err := d.put(ctx, spec); err != nil {
			return err
		}
	}
	if prune {
		if err := d.prune(ctx); err != nil {
			return err
		}
	}
	var errs []error
	for _, spec := range stack.Services {
		if err := wait.until(ctx, a, c, spec.Name, d.goals[spec.Name]); err != nil {
			errs = append(errs, err)
			if ctx.Err() != nil {
				break
			}
		}
	}
	return errors.Join(errs...)
}

// deployment makes a cluster have a stack.
type deployment struct {
	app    *app
	client *client.Client
	name   string
	stack  compose.Stack
	wait   waitOptions

	services map[string]client.Service // that there are, by name
	missing  struct {
		secrets, configs []client.FileCreate
		networks         []client.NetworkCreate
	}
	goals map[string]goal // of what was put, by name
}

// look compares the stack with what there is, and finds what speaks against it before anything is changed.
func (d *deployment) look(ctx context.Context) error {
	d.services, d.goals = map[string]client.Service{}, map[string]goal{}
	services, err := d.client.ServiceDetails(ctx)
	if err != nil {
		return err
	}
	for _, s := range services {
		d.services[s.Spec.Name] = s
	}
	var errs []error
	for _, spec := range d.stack.Services {
		s, there := d.services[spec.Name]
		switch {
		case there && stackOf(s.Spec.Labels) != d.name:
			errs = append(errs, fmt.Errorf("there is a service %s that is not of stack %s: remove it, or choose another name for the stack", spec.Name, d.name))
		case there && s.Spec.Mode != spec.Mode:
			errs = append(errs, fmt.Errorf("service %s is %s and cannot become %s: remove it first", spec.Name, s.Spec.Mode, spec.Mode))
		}
		if err := cluster.PortConflict(spec, plainServices(services)); err != nil {
			errs = append(errs, fmt.Errorf("service %s: %w", spec.Name, err))
		}
	}
	for _, part := range []struct {
		kind     fileKind
		same     func(context.Context, client.FileCreate) (client.Written, error)
		wanted   []client.FileCreate
		external []string
		missing  *[]client.FileCreate
	}{
		{secrets(), d.client.SameSecret, d.stack.Secrets, d.stack.External.Secrets, &d.missing.secrets},
		{configs(), d.client.SameConfig, d.stack.Configs, d.stack.External.Configs, &d.missing.configs},
	} {
		have, err := part.kind.list(d.client, ctx)
		if err != nil {
			return err
		}
		there := func(name string) bool {
			return slices.ContainsFunc(have, func(f client.File) bool { return f.Name == name })
		}
		for _, name := range part.external {
			if !there(name) {
				errs = append(errs, fmt.Errorf("there is no %s %s, which the file says is there: piswarm %s create %s FILE makes it", part.kind.kind, name, part.kind.kind, name))
			}
		}
		for _, f := range part.wanted {
			if !there(f.Name) {
				*part.missing = append(*part.missing, f)
			} else if _, err := part.same(ctx, f); conflicting(err) {
				errs = append(errs, fmt.Errorf("%s %s has another value, and none ever changes: give the new one another name in the file (name: …)", part.kind.kind, f.Name))
			} else if err != nil {
				errs = append(errs, err)
			}
		}
	}
	networks, err := d.client.Networks(ctx)
	if err != nil {
		return err
	}
	there := func(name string) bool {
		return slices.ContainsFunc(networks, func(n client.Network) bool { return n.Name == name })
	}
	for _, name := range d.stack.External.Networks {
		if !there(name) {
			errs = append(errs, fmt.Errorf("there is no network %s, which the file says is there", name))
		}
	}
	for _, n := range d.stack.Networks {
		if !there(n.Name) {
			d.missing.networks = append(d.missing.networks, n)
		}
	}
	return errors.Join(errs...)
}

func plainServices(all []client.Service) []cluster.Service {
	plain := make([]cluster.Service, len(all))
	for i, s := range all {
		plain[i] = s.Service
	}
	return plain
}

// makeParts makes what the services need and is not there.
func (d *deployment) makeParts(ctx context.Context) error {
	done := func(what, name string, written client.Written, err error) error {
		if err != nil {
			return err
		}
		d.app.warn(written)
		return d.wait.say(d.app, "created "+what+" "+name)
	}
	for _, n := range d.missing.networks {
		written, err := d.client.CreateNetwork(ctx, n)
		if err := done("network", n.Name, written, err); err != nil {
			return err
		}
	}
	for _, f := range d.missing.secrets {
		written, err := d.client.CreateSecret(ctx, f)
		if err := done("secret", f.Name, written, err); err != nil {
			return err
		}
	}
	for _, f := range d.missing.configs {
		written, err := d.client.CreateConfig(ctx, f)
		if err := done("config", f.Name, written, err); err != nil {
			return err
		}
	}
	return nil
}

// put makes a service, or changes it to what the file says. What users have set by other means stays only if the file
// cannot say it.
func (d *deployment) put(ctx context.Context, spec cluster.Spec) error {
	s, there := d.services[spec.Name]
	if !there {
		written, err := d.client.CreateService(ctx, spec)
		if err != nil {
			return err
		}
		d.app.warn(written)
		return d.wait.say(d.app, "created service "+spec.Name)
	}
	for try := 1; ; try++ {
		next := spec
		// The file has no words for these. An image's name is looked up anew each time, as docker does.
		next.Force, next.OnPartition, next.MaxConcurrent = s.Spec.Force, s.Spec.OnPartition, s.Spec.MaxConcurrent
		written, err := d.client.UpdateService(ctx, spec.Name, client.ServiceUpdate{Spec: next, Version: s.Version})
		if conflicting(err) && try < changeTries && overtaken(ctx, d.client, spec.Name, s.Version) {
			if s, err = d.client.Service(ctx, spec.Name); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		d.goals[spec.Name] = toUpdate
		d.app.warn(written)
		return d.wait.say(d.app, "updated service "+spec.Name)
	}
}

// prune removes services of the stack that its file does not have.
func (d *deployment) prune(ctx context.Context) error {
	var gone []string
	for name, s := range d.services {
		kept := slices.ContainsFunc(d.stack.Services, func(spec cluster.Spec) bool { return spec.Name == name })
		if !kept && stackOf(s.Spec.Labels) == d.name {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	for _, name := range gone {
		written, err := d.client.RemoveService(ctx, name)
		if err != nil && !notFound(err) {
			return err
		}
		d.app.warn(written)
		if err := d.wait.say(d.app, "removed service "+name); err != nil {
			return err
		}
	}
	return nil
}
