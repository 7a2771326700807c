package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

func newImageRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rm IMAGE...",
		Aliases: []string{"remove"},
		Short:   "Remove images from the node that is asked",
		Long: `Remove images from the node that is asked. Nodes that hold a copy keep theirs, and an image that runs here stays. Of
several images, those that can be removed are, also if another cannot.`,
		Example:           `  piswarm image rm greeter`,
		Args:              minArgs(1, "an image, as piswarm image ls names them"),
		ValidArgsFunction: completeImages(a),
		RunE: func(cmd *cobra.Command, args []string) error {
			images, err := each(args, func(arg string) (string, error) {
				named, err := normalise(arg)
				if err != nil {
					return "", err
				}
				return named.String(), nil
			})
			if err != nil {
				return &usageError{cmd, err}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			return removeEach(a, images, func(name string) (client.Written, error) {
				return c.RemoveImage(cmd.Context(), name)
			})
		},
		DisableFlagsInUseLine: true,
	}
}

// removeEach removes what is named and prints the names of what it removed. It goes on where the agent refuses one of
// them, and stops where no agent answers.
func removeEach(a *app, names []string, remove func(name string) (client.Written, error)) error {
	var problems []error
	for _, name := range names {
		written, err := remove(name)
		if err != nil {
			problems = append(problems, err)
			var answer *client.Error
			if !errors.As(err, &answer) {
				break
			}
			continue
		}
		a.warn(written)
		if _, err := fmt.Fprintln(a.stdout, name); err != nil {
			return err
		}
	}
	return errors.Join(problems...)
}
