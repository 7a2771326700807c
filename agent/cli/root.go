package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

// app is one run of the command line: where it reads and writes, and how it reaches the agent.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	host           string // of the agent, as --host says
	now            func() time.Time
	pace           pace

	ctx context.Context // of the run: a way to an agent lasts for several commands of it
	ssh *sshHost        // to the agent's machine, if that is another one
}

// Execute runs the command line with these arguments, without the program's name, and returns the exit code: 0
// done, 1 error, 2 could not be placed or did not converge. An error is one line on stderr.
func Execute(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	return newApp(stdin, stdout, stderr).execute(ctx, args)
}

// NewCommand returns the tree of commands for who describes it.
func NewCommand() *cobra.Command { return newRootCommand(newApp(nil, nil, nil)) }

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{stdin: stdin, stdout: stdout, stderr: stderr, now: time.Now, pace: defaultPace}
}

func (a *app) execute(ctx context.Context, args []string) int {
	a.ctx = ctx
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	if a.ssh != nil {
		err = errors.Join(err, a.ssh.close())
	}
	return a.report(err)
}

func newRootCommand(a *app) *cobra.Command {
	root := newGroup("piswarm", "A shelf of Raspberry Pis that behaves like one machine")
	root.Long = `A shelf of Raspberry Pis that behaves like one machine.

Any node takes any command, and every node answers every published port.`
	root.Example = `  piswarm create --name greeters --publish 9000:5000 greeter
  piswarm scale greeters 4
  piswarm status`
	root.SilenceErrors = true // report prints them
	root.SilenceUsage = true
	root.SetFlagErrorFunc(flagError)
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpCommand(newHelpCommand())
	host := os.Getenv("PISWARM_HOST")
	if host == "" {
		host = client.DefaultHost
	}
	root.PersistentFlags().StringVarP(&a.host, "host", "H", host, "`address` of the agent, unix:///PATH or ssh://[USER@]HOST, also set by PISWARM_HOST")

	root.AddGroup(
		&cobra.Group{ID: groupServices, Title: "Services (most also as piswarm service COMMAND):"},
		&cobra.Group{ID: groupCluster, Title: "Cluster:"},
		&cobra.Group{ID: groupMachine, Title: "This machine:"},
	)
	add := func(group string, cmds ...*cobra.Command) {
		for _, cmd := range cmds {
			cmd.GroupID = group
			root.AddCommand(cmd)
		}
	}
	add(groupServices, serviceCommands(a)...)
	add(groupServices, newExecCommand(a))
	add(groupCluster,
		newServiceCommand(a),
		newStackCommand(a),
		newNodeCommand(a),
		newImageCommand(a),
		newSecretCommand(a),
		newConfigCommand(a),
		newStatusCommand(a),
		newTopCommand(a),
		newEventsCommand(a),
		newInitCommand(a),
		newJoinCommand(a),
		newLeaveCommand(a),
		newTokenCommand(a),
		newUpgradeCommand(a),
		newDashboardCommand(a),
	)
	add(groupMachine, machineCommands(a)...)
	add(groupMachine, newVersionCommand(a), newDialStdioCommand(a))
	root.SetHelpCommandGroupID(groupMachine)
	root.SetCompletionCommandGroupID(groupMachine)
	return root
}

// Headings in the help of the root command.
const (
	groupServices = "services"
	groupCluster  = "cluster"
	groupMachine  = "machine"
)

// newGroup returns a command that only holds others: alone it shows its help, and a name that none of them has is an
// error, which cobra would pass over in silence.
func newGroup(use, short string, cmds ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{
		Use:   use + " COMMAND",
		Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			cmd.SuggestionsMinimumDistance = 2
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				return usageErrorf(cmd, "unknown command %q: did you mean %s?", args[0], strings.Join(near, " or "))
			}
			return usageErrorf(cmd, "unknown command %q", args[0])
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		// cobra's own lines for unknown commands are several; ours is one.
		DisableSuggestions:    true,
		DisableFlagsInUseLine: true,
	}
	group.AddCommand(cmds...)
	return group
}

// connect returns the client of the agent that the user named.
func (a *app) connect() (*client.Client, error) {
	if name, ok := strings.CutPrefix(a.host, sshScheme); ok {
		return a.connectSSH(name)
	}
	return client.New(a.host)
}
