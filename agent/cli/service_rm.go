package cli

import (
	"errors"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

func newServiceRemoveCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "rm SERVICE...",
		Aliases: []string{"remove"},
		Short:   "Remove services",
		Long: `Remove services. Their tasks are told to end and their ports are closed; volumes stay.

Of several services, those that exist are removed also if another does not.`,
		Example:           `  piswarm rm greeters`,
		Args:              minArgs(1, "a service, as piswarm ls names them"),
		ValidArgsFunction: completeServices(a),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			names, err := resolveServices(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			return removeEach(a, names, func(name string) (client.Written, error) {
				return c.RemoveService(cmd.Context(), name)
			})
		},
		DisableFlagsInUseLine: true,
	}
}

// notFound tells whether the agent answered that there is no such thing.
func notFound(err error) bool {
	var answer *client.Error
	return errors.As(err, &answer) && answer.Status == http.StatusNotFound
}
