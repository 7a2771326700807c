package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func newNodeUpdateCommand(a *app) *cobra.Command {
	var o nodeUpdateOptions
	cmd := &cobra.Command{
		Use:   "update [OPTIONS] NODE",
		Short: "Change what a node may do, and its labels",
		Long: `Change what a node may do, and its labels.

A node that is active takes tasks; one on pause keeps those it has and takes no new ones; one on drain gives its tasks
to others. A manager may become the leader, a worker never does.`,
		Example: `  piswarm node update --availability drain pi2
  piswarm node update --label-add room=kitchen pi3`,
		Args:              exactArgs(1, "one node"),
		ValidArgsFunction: completeFirst(completeNodes(a)),
		RunE: func(cmd *cobra.Command, args []string) error {
			update, err := o.update()
			if err != nil {
				return &usageError{cmd, err}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			nodes, err := resolveNodes(cmd.Context(), c, args)
			if err != nil {
				return err
			}
			written, err := c.UpdateNode(cmd.Context(), nodes[0], update)
			if err != nil {
				return err
			}
			a.warn(written)
			_, err = fmt.Fprintln(a.stdout, args[0])
			return err
		},
		DisableFlagsInUseLine: true,
	}
	f := cmd.Flags()
	f.StringVar(&o.availability, "availability", "", "`availability`, active, pause or drain")
	f.StringVar(&o.role, "role", "", "`role`, manager or worker")
	f.StringArrayVar(&o.labelsAdd, "label-add", nil, "add or change a label, `KEY[=VALUE]`")
	f.StringArrayVar(&o.labelsRemove, "label-rm", nil, "remove a label by its `key`")
	completeFlag(cmd, "availability", string(cluster.Active), string(cluster.Pause), string(cluster.Drain))
	completeFlag(cmd, "role", string(cluster.Manager), string(cluster.Worker))
	return cmd
}

type nodeUpdateOptions struct {
	availability, role      string
	labelsAdd, labelsRemove []string
}

func (o nodeUpdateOptions) update() (client.NodeUpdate, error) {
	u := client.NodeUpdate{
		Availability: cluster.Availability(o.availability),
		Role:         cluster.Role(o.role),
		LabelsRemove: o.labelsRemove,
	}
	switch u.Availability {
	case "", cluster.Active, cluster.Pause, cluster.Drain:
	default:
		return u, fmt.Errorf("--availability %q: want active, pause or drain", o.availability)
	}
	switch u.Role {
	case "", cluster.Manager, cluster.Worker:
	default:
		return u, fmt.Errorf("--role %q: want manager or worker", o.role)
	}
	var err error
	if u.LabelsAdd, err = labels("--label-add", o.labelsAdd); err != nil {
		return u, err
	}
	for key := range u.LabelsAdd {
		if slices.Contains(u.LabelsRemove, key) {
			return u, fmt.Errorf("label %s is both added and removed", key)
		}
	}
	if u.Availability == "" && u.Role == "" && len(u.LabelsAdd) == 0 && len(u.LabelsRemove) == 0 {
		return u, errors.New("nothing to change")
	}
	return u, nil
}
