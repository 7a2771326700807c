package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// fileKind is what the commands on secrets and those on configs differ in.
type fileKind struct {
	kind   string
	list   func(*client.Client, context.Context) ([]client.File, error)
	create func(*client.Client, context.Context, client.FileCreate) (client.Written, error)
	remove func(*client.Client, context.Context, string) (client.Written, error)
	parse  func(string) (cluster.FileRef, error)
	at     func(*cluster.Spec) *[]cluster.FileRef
	target string // where a container finds NAME by default
	mode   string // likewise
}

// The two are functions, for no package variable is to change.

func secrets() fileKind {
	return fileKind{
		kind: cluster.KindSecret, list: (*client.Client).Secrets, create: (*client.Client).CreateSecret, remove: (*client.Client).RemoveSecret,
		parse: cluster.ParseSecretRef, at: func(s *cluster.Spec) *[]cluster.FileRef { return &s.Container.Secrets },
		target: "/run/secrets/NAME", mode: "0400",
	}
}

func configs() fileKind {
	return fileKind{
		kind: cluster.KindConfig, list: (*client.Client).Configs, create: (*client.Client).CreateConfig, remove: (*client.Client).RemoveConfig,
		parse: cluster.ParseConfigRef, at: func(s *cluster.Spec) *[]cluster.FileRef { return &s.Container.Configs },
		target: "/NAME", mode: "0444",
	}
}

func newSecretCommand(a *app) *cobra.Command {
	k := secrets()
	cmd := newGroup("secret", "Manage secrets, which containers read as files", k.newCreateCommand(a,
		`Make a secret from a file, or from standard input with -.

The node that takes the value encrypts it, and so it lies on the card of every node and travels between them. In clear
it is only in the memory of a node that runs a task of a service that uses it. Nobody is shown it again.`,
		`  openssl rand -base64 32 | piswarm secret create db-password -
  piswarm secret create --label team=door tls.key ./tls.key`),
		k.newListCommand(a), newInspectCommand(a, k, (*client.Client).Secret, filledFile), k.newRemoveCommand(a))
	cmd.Example = `  openssl rand -base64 32 | piswarm secret create db-password -
  piswarm create --name db --secret db-password postgres:17`
	return cmd
}

func newConfigCommand(a *app) *cobra.Command {
	k := configs()
	cmd := newGroup("config", "Manage configs, which containers read as files", k.newCreateCommand(a,
		`Make a config from a file, or from standard input with -.

Everybody who may use the cluster may read it: what nobody else is to know becomes a secret.`,
		`  piswarm config create nginx.conf ./nginx.conf`),
		k.newListCommand(a), newInspectCommand(a, k, (*client.Client).Config, filledConfig), k.newRemoveCommand(a))
	cmd.Example = `  piswarm config create nginx.conf ./nginx.conf
  piswarm create --name web --config source=nginx.conf,target=/etc/nginx/nginx.conf -p 80:80 nginx`
	return cmd
}

// newInspectCommand shows one kind, each of which has an answer of its own.
func newInspectCommand[T any](a *app, k fileKind, get func(*client.Client, context.Context, string) (T, error), fill func(T) T) *cobra.Command {
	var format string
	short := "Show all that is known of " + k.kind + "s, as JSON"
	if k.kind == cluster.KindSecret {
		short = "Show all of secrets but their values, as JSON"
	}
	cmd := &cobra.Command{
		Use:               "inspect [OPTIONS] " + k.arg() + "...",
		Short:             short,
		Example:           "  piswarm " + k.kind + " inspect --format '{{.Services}}' " + k.example(),
		Args:              minArgs(1, k.wanted()),
		ValidArgsFunction: completeFiles(a, k),
		RunE: func(cmd *cobra.Command, args []string) error {
			return inspect(cmd.Context(), a, args, format, inspector[T]{k.resolve, get, fill})
		},
		DisableFlagsInUseLine: true,
	}
	addInspectFlags(cmd, &format)
	return cmd
}

func (k fileKind) newRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "rm " + k.arg() + "...",
		Aliases:           []string{"remove"},
		Short:             "Remove " + k.kind + "s that no service uses",
		Example:           "  piswarm " + k.kind + " rm " + k.example(),
		Args:              minArgs(1, k.wanted()),
		ValidArgsFunction: completeFiles(a, k),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			names, err := k.resolve(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			return removeEach(a, names, func(name string) (client.Written, error) { return k.remove(c, cmd.Context(), name) })
		},
		DisableFlagsInUseLine: true,
	}
}

func (k fileKind) resolve(ctx context.Context, c *client.Client, words []string) ([]string, error) {
	files, err := k.list(c, ctx)
	if err != nil {
		return nil, err
	}
	known := make([]identity, len(files))
	for i, f := range files {
		known[i] = identity{name: f.Name, id: f.ID, key: f.Name}
	}
	return resolve(k.kind, known, words)
}

// arg is what stands for one of the kind in the line that shows how a command is used.
func (k fileKind) arg() string {
	if k.kind == cluster.KindSecret {
		return "SECRET"
	}
	return "CONFIG"
}

func (k fileKind) example() string {
	if k.kind == cluster.KindSecret {
		return "db-password"
	}
	return "nginx.conf"
}

func (k fileKind) wanted() string { return "a " + k.kind + ", as piswarm " + k.kind + " ls names them" }

func completeFiles(a *app, k fileKind) completion {
	return completeNames(func(ctx context.Context) ([]string, error) {
		c, err := a.connect()
		if err != nil {
			return nil, err
		}
		files, err := k.list(c, ctx)
		var names []string
		for _, f := range files {
			names = append(names, f.Name)
		}
		return names, err
	})
}
