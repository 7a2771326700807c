package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func (k fileKind) newCreateCommand(a *app, long, example string) *cobra.Command {
	var labelArgs []string
	cmd := &cobra.Command{
		Use:   "create [OPTIONS] NAME FILE|-",
		Short: "Make a " + k.kind + " from a file or from standard input",
		Long: long + fmt.Sprintf(`

A %[1]s has 1 byte to %[2]d KiB and never changes. To change what a service reads, make another one and have it use that:
piswarm update --%[1]s-rm OLD --%[1]s-add NEW SERVICE.`, k.kind, cluster.MaxFileSize>>10),
		Example: example,
		Args:    exactArgs(2, "a name and a file, or - for standard input"),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return nil, cobra.ShellCompDirectiveDefault // files
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			in := client.FileCreate{Name: args[0]}
			var err error
			if in.Labels, err = labels("--label", labelArgs); err != nil {
				return &usageError{cmd, err}
			}
			// Before anything is read, which may be from a person.
			if err := cluster.ValidateFileName(k.kind, in.Name); err != nil {
				return &usageError{cmd, err}
			}
			if in.Data, err = a.readFile(args[1]); err != nil {
				return err
			}
			if err := cluster.ValidateFile(k.kind, in.Name, in.Labels, len(in.Data)); err != nil {
				return &usageError{cmd, err}
			}
			return k.runCreate(cmd, a, in)
		},
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().StringArrayVarP(&labelArgs, "label", "l", nil, "label of the "+k.kind+", `KEY[=VALUE]`")
	return cmd
}

func (k fileKind) runCreate(cmd *cobra.Command, a *app, in client.FileCreate) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	written, err := k.create(c, cmd.Context(), in)
	if err != nil {
		return err
	}
	a.warn(written)
	_, err = fmt.Fprintln(a.stdout, written.ID)
	return err
}

// readFile reads a whole file, or standard input. Of one that is too large for a secret or a config it reads as much as
// shows that it is.
func (a *app) readFile(name string) ([]byte, error) {
	in := a.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	return io.ReadAll(io.LimitReader(in, cluster.MaxFileSize+1))
}
