package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

func newServiceInspectCommand(a *app) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "inspect [OPTIONS] SERVICE...",
		Short: "Show all that is known of services, as JSON",
		Example: `  piswarm inspect greeters
  piswarm inspect --format '{{.Spec.Container.Digest}}' greeters`,
		Args:              minArgs(1, "a service, as piswarm ls names them"),
		ValidArgsFunction: completeServices(a),
		RunE: func(cmd *cobra.Command, args []string) error {
			return inspect(cmd.Context(), a, args, format, inspector[client.Service]{resolveServices, (*client.Client).Service, filledService})
		},
		DisableFlagsInUseLine: true,
	}
	addInspectFlags(cmd, &format)
	return cmd
}

func addInspectFlags(cmd *cobra.Command, format *string) {
	cmd.Flags().StringVar(format, "format", "json", "`format`, json or a Go template")
	completeFlag(cmd, "format", "json")
}

// inspector is how one kind of things is found, read, and made free of nulls.
type inspector[T any] struct {
	resolve func(context.Context, *client.Client, []string) ([]string, error)
	get     func(*client.Client, context.Context, string) (T, error)
	fill    func(T) T
}

// inspect prints what the agent answers for each name. If one of them fails, nothing is printed, so that a program never
// takes a part for the whole.
func inspect[T any](ctx context.Context, a *app, names []string, format string, how inspector[T]) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	names, err = how.resolve(ctx, c, names)
	if err != nil {
		return err
	}
	all := make([]T, 0, len(names))
	for _, name := range names {
		v, err := how.get(c, ctx, name)
		if err != nil {
			return err
		}
		all = append(all, how.fill(v))
	}
	var out bytes.Buffer
	if format == "json" {
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "    ")
		if err := enc.Encode(all); err != nil {
			return err
		}
		_, err = a.stdout.Write(out.Bytes())
		return err
	}
	tmpl, err := newTemplate(format)
	if err != nil {
		return err
	}
	for _, v := range all {
		if err := tmpl.Execute(&out, v); err != nil {
			return templateError(err)
		}
		out.WriteByte('\n')
	}
	_, err = io.Copy(a.stdout, &out)
	return err
}
