package cli

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// completionTimeout bounds how long the shell hangs at a tab press when the agent is slow. It completes nothing
// then.
const completionTimeout = 2 * time.Second

// completion is what cobra asks for the words that may come next.
type completion = func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective)

// completeNames offers the names that list returns, less those already typed.
func completeNames(list func(ctx context.Context) ([]string, error)) completion {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
		defer cancel()
		names, err := list(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(args, name) })
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFirst offers names for the first argument only.
func completeFirst(complete completion) completion {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, args, toComplete)
	}
}

func completeServices(a *app) completion {
	return completeNames(func(ctx context.Context) ([]string, error) {
		c, err := a.connect()
		if err != nil {
			return nil, err
		}
		services, err := c.Services(ctx)
		var names []string
		for _, s := range services {
			names = append(names, s.Name)
		}
		return names, err
	})
}

// completeServicesAndTasks offers what has output, and what a command can be run in.
func completeServicesAndTasks(a *app) completion {
	return completeNames(func(ctx context.Context) ([]string, error) {
		c, err := a.connect()
		if err != nil {
			return nil, err
		}
		services, err := c.Services(ctx)
		if err != nil {
			return nil, err
		}
		var names []string
		for _, s := range services {
			names = append(names, s.Name)
		}
		tasks, err := c.Tasks(ctx, "")
		for _, t := range tasks {
			if t.Node != "" {
				names = append(names, taskName(t))
			}
		}
		return names, err
	})
}

func completeNodes(a *app) completion {
	return completeNames(func(ctx context.Context) ([]string, error) {
		c, err := a.connect()
		if err != nil {
			return nil, err
		}
		nodes, err := c.Nodes(ctx)
		var names []string
		for _, n := range nodes {
			names = append(names, n.Name)
		}
		return names, err
	})
}

func completeImages(a *app) completion {
	return completeNames(func(ctx context.Context) ([]string, error) {
		c, err := a.connect()
		if err != nil {
			return nil, err
		}
		images, err := c.Images(ctx)
		var names []string
		for _, i := range images {
			names = append(names, familiar(i.Name))
		}
		return names, err
	})
}

// completeFlag offers the few words that a flag may have. The flag must exist.
func completeFlag(cmd *cobra.Command, flag string, words ...string) {
	completeFlagBy(cmd, flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

func completeFlagBy(cmd *cobra.Command, flag string, complete completion) {
	if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
		panic(err) // only for a flag that the command lacks: a mistake in the program
	}
}
