package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func newServiceListCommand(a *app) *cobra.Command {
	var o listOptions
	cmd := &cobra.Command{
		Use:     "ls [OPTIONS]",
		Aliases: []string{"list"},
		Short:   "List services",
		Example: `  piswarm ls
  piswarm ls --filter mode=global
  piswarm ls --format '{{.Name}} {{.Replicas}}'`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runServiceList(cmd, a, o)
		},
		DisableFlagsInUseLine: true,
	}
	addListFlags(cmd, &o, "IDs", filterKeys(serviceMatchers(nil)))
	return cmd
}

func runServiceList(cmd *cobra.Command, a *app, o listOptions) error {
	labels := map[string]map[string]string{}
	f, err := parseFilter(o.filters, serviceMatchers(labels))
	if err != nil {
		return &usageError{cmd, err}
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	services, err := c.Services(cmd.Context())
	if err != nil {
		return err
	}
	if f.asks("label") {
		if err := readServiceLabels(cmd.Context(), c, services, labels); err != nil {
			return err
		}
	}
	return serviceList(o.noTrunc).print(a.stdout, o, f.apply(services))
}

// serviceMatchers returns what services are filtered by; labels are those of each service, by its name.
func serviceMatchers(labels map[string]map[string]string) map[string]matcher[client.ServiceStatus] {
	return map[string]matcher[client.ServiceStatus]{
		"id":    func(s client.ServiceStatus, v string) bool { return strings.HasPrefix(s.ID, v) },
		"label": func(s client.ServiceStatus, v string) bool { return hasLabel(labels[s.Name], v) },
		"mode":  func(s client.ServiceStatus, v string) bool { return string(s.Mode) == v },
		"name":  func(s client.ServiceStatus, v string) bool { return strings.HasPrefix(s.Name, v) },
	}
}

// readServiceLabels asks for each service, because the list does not carry labels. A service that has gone meanwhile
// has none.
func readServiceLabels(ctx context.Context, c *client.Client, services []client.ServiceStatus, into map[string]map[string]string) error {
	for _, s := range services {
		detail, err := c.Service(ctx, s.Name)
		if notFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		into[s.Name] = detail.Spec.Labels
	}
	return nil
}

func serviceList(whole bool) list[client.ServiceStatus] {
	return list[client.ServiceStatus]{
		columns: []column[client.ServiceStatus]{
			{name: "ID", header: "ID", cell: func(s client.ServiceStatus) string { return shortID(s.ID, whole) }},
			{name: "Name", header: "NAME", cell: func(s client.ServiceStatus) string { return s.Name }},
			{name: "Mode", header: "MODE", cell: func(s client.ServiceStatus) string { return string(s.Mode) }},
			{name: "Replicas", header: "REPLICAS", cell: replicasString},
			{name: "Image", header: "IMAGE", cell: func(s client.ServiceStatus) string {
				if whole {
					return s.Image
				}
				return familiar(s.Image)
			}},
			{name: "Ports", header: "PORTS", cell: func(s client.ServiceStatus) string { return portsString(s.Ports) }},
			{name: "Update", header: "UPDATE", cell: func(s client.ServiceStatus) string { return string(s.Update.State) }, hidden: true},
		},
		fill: filledServiceStatus,
		id:   func(s client.ServiceStatus) string { return shortID(s.ID, whole) },
	}
}

// replicasString is docker's, and says what an update is at that is not completed.
func replicasString(s client.ServiceStatus) string {
	text := countString(s)
	if word := updateString(s.Update.State); word != "" {
		text += " (" + word + ")"
	}
	return text
}

func countString(s client.ServiceStatus) string {
	text := fmt.Sprintf("%d/%d", s.Replicas.Running, s.Replicas.Desired)
	if s.Mode.Job() {
		text += fmt.Sprintf(" (%d/%d completed)", s.Replicas.Completed, s.Replicas.Total)
	}
	return text
}

// updateString is empty for an update that is completed.
func updateString(s cluster.UpdateState) string {
	switch s {
	case cluster.UpdateCompleted:
		return ""
	case cluster.UpdatePaused:
		return "update paused"
	case cluster.RollbackStarted:
		return "rolling back"
	case cluster.RollbackCompleted:
		return "rolled back"
	}
	return strings.ReplaceAll(string(s), "_", " ")
}
