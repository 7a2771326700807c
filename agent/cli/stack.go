package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/agent/cli/compose"
	"github.com/piswarm/piswarm/pkg/client"
)

func newStackCommand(a *app) *cobra.Command {
	cmd := newGroup("stack", "Manage stacks: the services of a compose file",
		newStackDeployCommand(a),
		newStackListCommand(a),
		newStackTasksCommand(a),
		newStackServicesCommand(a),
		newStackRemoveCommand(a),
	)
	cmd.Example = `  piswarm stack deploy -c compose.yaml shop
  piswarm stack services shop
  piswarm stack rm shop`
	return cmd
}

// stackOf is the stack that something with these labels belongs to.
func stackOf(labels map[string]string) string { return labels[compose.NamespaceLabel] }

// stackServices are the services of a stack; that there are none is an error.
func stackServices(ctx context.Context, c *client.Client, name string) ([]client.Service, error) {
	all, err := c.ServiceDetails(ctx)
	if err != nil {
		return nil, err
	}
	services := slices.DeleteFunc(all, func(s client.Service) bool { return stackOf(s.Spec.Labels) != name })
	if len(services) == 0 {
		return nil, fmt.Errorf("no stack named %s: piswarm stack ls lists them", name)
	}
	return services, nil
}

// stackRow is one line of the list of stacks.
type stackRow struct {
	Name     string `json:"name"`
	Services int    `json:"services"`
}

var stackMatchers = map[string]matcher[stackRow]{
	"name": func(s stackRow, v string) bool { return strings.HasPrefix(s.Name, v) },
}

func newStackListCommand(a *app) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:               "ls [OPTIONS]",
		Aliases:           []string{"list"},
		Short:             "List stacks",
		Example:           `  piswarm stack ls`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f, err := parseFilter(o.filters, stackMatchers)
			if err != nil {
				return &usageError{cmd, err}
			}
			rows, err := stacks(cmd.Context(), a)
			if err != nil {
				return err
			}
			return list[stackRow]{
				columns: []column[stackRow]{
					{name: "Name", header: "NAME", cell: func(s stackRow) string { return s.Name }},
					{name: "Services", header: "SERVICES", cell: func(s stackRow) string { return fmt.Sprint(s.Services) }},
				},
				id: func(s stackRow) string { return s.Name },
			}.print(a.stdout, o, f.apply(rows))
		},
		DisableFlagsInUseLine: true,
	}
	addListFlags(cmd, &o, "names", filterKeys(stackMatchers))
	return cmd
}

func stacks(ctx context.Context, a *app) ([]stackRow, error) {
	c, err := a.connect()
	if err != nil {
		return nil, err
	}
	services, err := c.ServiceDetails(ctx)
	if err != nil {
		return nil, err
	}
	count := map[string]int{}
	for _, s := range services {
		if name := stackOf(s.Spec.Labels); name != "" {
			count[name]++
		}
	}
	var rows []stackRow
	for name, n := range count {
		rows = append(rows, stackRow{name, n})
	}
	slices.SortFunc(rows, func(a, b stackRow) int { return strings.Compare(a.Name, b.Name) })
	return rows, nil
}

func completeStacks(a *app) completion {
	return completeNames(func(ctx context.Context) ([]string, error) {
		rows, err := stacks(ctx, a)
		var names []string
		for _, s := range rows {
			names = append(names, s.Name)
		}
		return names, err
	})
}

const oneStack = "a stack, as piswarm stack ls names it"

func newStackTasksCommand(a *app) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:               "ps [OPTIONS] STACK",
		Short:             "List the tasks of a stack",
		Example:           `  piswarm stack ps shop`,
		Args:              exactArgs(1, oneStack),
		ValidArgsFunction: completeFirst(completeStacks(a)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			services, err := stackServices(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			names := make([]string, len(services))
			for i, s := range services {
				names[i] = s.Spec.Name
			}
			return runTaskList(cmd, a, names, o, false)
		},
		DisableFlagsInUseLine: true,
	}
	addListFlags(cmd, &o, "IDs", filterKeys(taskMatchers))
	return cmd
}

func newStackServicesCommand(a *app) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:               "services [OPTIONS] STACK",
		Short:             "List the services of a stack",
		Example:           `  piswarm stack services shop`,
		Args:              exactArgs(1, oneStack),
		ValidArgsFunction: completeFirst(completeStacks(a)),
		RunE: func(cmd *cobra.Command, args []string) error {
			labels := map[string]map[string]string{}
			f, err := parseFilter(o.filters, serviceMatchers(labels))
			if err != nil {
				return &usageError{cmd, err}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			services, err := stackServices(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			rows := make([]client.ServiceStatus, len(services))
			for i, s := range services {
				rows[i], labels[s.Spec.Name] = s.Status, s.Spec.Labels
			}
			return serviceList(o.noTrunc).print(a.stdout, o, f.apply(rows))
		},
		DisableFlagsInUseLine: true,
	}
	addListFlags(cmd, &o, "IDs", filterKeys(serviceMatchers(nil)))
	return cmd
}
