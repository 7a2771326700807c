package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/moby/term"
	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

// exitCannotRun is the exit code, as a shell's, of a command that could not be started.
const exitCannotRun = 127

// exitCodeError is a command's own exit code: it has said itself what went wrong.
type exitCodeError int

func (e exitCodeError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func newExecCommand(a *app) *cobra.Command {
	var spec client.ExecSpec
	cmd := &cobra.Command{
		Use:   "exec [OPTIONS] TASK|SERVICE COMMAND [ARG...]",
		Short: "Run a command in a task's container, on whichever node that runs",
		Long: `Run a command in a task's container, on whichever node that runs. A service that has one task may be named instead.
The exit code is the command's. When this ends before the command does, the command is killed.`,
		Example: `  piswarm exec -it greeters.1 sh
  piswarm exec -e DEBUG=1 -w /data db ls -l
  pg_dump | piswarm exec -i db psql`,
		Args:              minArgs(2, "a task and a command, for example -it greeters.1 sh"),
		ValidArgsFunction: completeFirst(completeServicesAndTasks(a)),
		RunE: func(cmd *cobra.Command, args []string) error {
			spec.Args = args[1:]
			return runExec(cmd, a, args[0], spec)
		},
		DisableFlagsInUseLine: true,
	}
	f := cmd.Flags()
	f.SetInterspersed(false) // what follows the task belongs to the command, also what looks like a flag
	f.BoolVarP(&spec.Stdin, "interactive", "i", false, "give the command this standard input")
	f.BoolVarP(&spec.TTY, "tty", "t", false, "give the command a terminal")
	f.StringArrayVarP(&spec.Env, "env", "e", nil, "set an environment `variable`: NAME=VALUE, or NAME for its value here")
	f.StringVarP(&spec.User, "user", "u", "", "run as that `user`: name or number, [:GROUP]")
	f.StringVarP(&spec.Dir, "workdir", "w", "", "run in that `directory` of the container")
	return cmd
}

func runExec(cmd *cobra.Command, a *app, task string, spec client.ExecSpec) error {
	var err error
	if spec.Env, err = environment(nil, spec.Env, os.LookupEnv); err != nil {
		return &usageError{cmd, err}
	}
	var terminal *os.File // that is to be the command's
	if spec.TTY {
		in, ok := a.stdin.(*os.File)
		switch {
		case ok && term.IsTerminal(in.Fd()):
			terminal = in
		case spec.Stdin:
			return usageErrorf(cmd, "-t gives the command this terminal, and standard input is none: leave out -t")
		}
	}
	if terminal != nil {
		spec.Size = sizeOf(terminal)
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	running, err := c.Exec(ctx, task, spec)
	if err != nil {
		var answer *client.Error
		if errors.As(err, &answer) && answer.Status == http.StatusUnprocessableEntity {
			return errors.Join(err, exitCodeError(exitCannotRun))
		}
		return err
	}
	defer running.Close()
	if terminal != nil && spec.Stdin {
		before, err := term.SetRawTerminal(terminal.Fd())
		if err != nil {
			return fmt.Errorf("make the terminal the command's: %w", err)
		}
		defer func() { _ = term.RestoreTerminal(terminal.Fd(), before) }()
	}
	if terminal != nil {
		stop := onResize(ctx, func() { _ = running.Resize(sizeOf(terminal)) })
		defer stop()
	}
	if spec.Stdin {
		// It ends with the program at the latest: a read of standard input cannot be called off.
		go func() {
			if _, err := io.Copy(running, a.stdin); err == nil {
				_ = running.CloseWrite()
			}
		}()
	}
	code, err := running.Wait(a.stdout, a.stderr)
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case code != exitDone:
		return exitCodeError(code)
	}
	return nil
}

func sizeOf(terminal *os.File) client.Size {
	width, height := terminalSize(terminal)
	return client.Size{Height: uint16(height), Width: uint16(width)}
}
