package cli

import (
	"os"

	"github.com/moby/term"
	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/lab"
)

func newLabExecCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec HOST [--] COMMAND [ARG...]",
		Short: "Run a command on a host of the lab",
		Long: `Run a command on a host of the lab. Input, output and exit code are those of the command; on a terminal it can be a
shell.`,
		Example: `  piswarm lab exec pi1 -- piswarm status
  piswarm lab exec laptop -- curl http://pi2:9000/
  piswarm lab exec pi1 bash`,
		Args:              minArgs(2, "a host and a command, for example pi1 -- piswarm status"),
		ValidArgsFunction: completeFirst(completeNames(labHostNames)),
		RunE: func(cmd *cobra.Command, args []string) error {
			host, argv := args[0], args[1:]
			if argv[0] == "--" {
				argv = argv[1:]
			}
			if len(argv) == 0 {
				return usageErrorf(cmd, "no command given")
			}
			l, err := lab.Connect(cmd.Context(), labSocket)
			if err != nil {
				return err
			}
			stdin, ok := a.stdin.(*os.File)
			code, err := l.Exec(cmd.Context(), host, argv, lab.Stdio{
				In: a.stdin, Out: a.stdout, Err: a.stderr,
				Terminal: ok && term.IsTerminal(stdin.Fd()),
			})
			if err != nil {
				return err
			}
			if code != exitDone {
				// It has said itself what went wrong, and its code is none of ours.
				os.Exit(code)
			}
			return nil
		},
		DisableFlagsInUseLine: true,
	}
	// What follows the host belongs to the command, also what looks like a flag.
	cmd.Flags().SetInterspersed(false)
	return cmd
}
