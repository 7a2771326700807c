package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func newTaskListCommand(a *app) *cobra.Command {
	var o listOptions
	var past bool
	cmd := &cobra.Command{
		Use:   "ps [OPTIONS] [SERVICE...]",
		Short: "List tasks, those of all services if none is named",
		Example: `  piswarm ps
  piswarm ps --all greeters
  piswarm ps --filter node=pi1 --filter state=running`,
		ValidArgsFunction: completeServices(a),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runTaskList(cmd, a, args, o, past)
		},
		DisableFlagsInUseLine: true,
	}
	addListFlags(cmd, &o, "IDs", filterKeys(taskMatchers))
	cmd.Flags().BoolVarP(&past, "all", "a", false, "also what the tasks were before, as far as nodes remember")
	return cmd
}

func runTaskList(cmd *cobra.Command, a *app, services []string, o listOptions, past bool) error {
	f, err := parseFilter(o.filters, taskMatchers)
	if err != nil {
		return &usageError{cmd, err}
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	if len(services) == 0 {
		services = []string{""} // all
	} else if services, err = resolveServices(cmd.Context(), c, services); err != nil {
		return err
	}
	read := c.Tasks
	if past {
		read = c.TaskHistory
	}
	var tasks []client.Task
	for _, service := range services {
		some, err := read(cmd.Context(), service)
		if err != nil {
			return err
		}
		tasks = append(tasks, some...)
	}
	return taskList(a, o.noTrunc).print(a.stdout, o, taskRows(f.apply(tasks), past))
}

// taskRow is one line of the list.
type taskRow struct {
	client.Task
	before bool // the same task as in the line above, earlier
}

func taskRows(tasks []client.Task, past bool) []taskRow {
	rows := make([]taskRow, len(tasks))
	for i, t := range tasks {
		rows[i] = taskRow{t, past && i > 0 && taskName(t) == taskName(tasks[i-1])}
	}
	return rows
}

var taskMatchers = map[string]matcher[client.Task]{
	"desired-state": func(t client.Task, v string) bool { return string(t.Desired) == v },
	"id":            func(t client.Task, v string) bool { return strings.HasPrefix(t.ID, v) },
	"name":          func(t client.Task, v string) bool { return strings.HasPrefix(taskName(t), v) },
	"node":          func(t client.Task, v string) bool { return t.Node == v },
	"service":       func(t client.Task, v string) bool { return t.Service == v },
	"state":         func(t client.Task, v string) bool { return string(t.State) == v },
}

// maxErrorWidth keeps a task on one line of a terminal; --no-trunc shows the rest.
const maxErrorWidth = 60

func taskList(a *app, whole bool) list[taskRow] {
	now := a.now()
	return list[taskRow]{
		columns: []column[taskRow]{
			{name: "ID", header: "ID", cell: func(t taskRow) string { return shortID(t.ID, whole) }},
			{name: "Name", header: "NAME", cell: func(t taskRow) string {
				if t.before {
					return `\_ ` + taskName(t.Task) // docker's
				}
				return taskName(t.Task)
			}},
			{name: "Image", header: "IMAGE", cell: func(t taskRow) string {
				if whole {
					return t.Image
				}
				return familiar(t.Image)
			}},
			{name: "Node", header: "NODE", cell: func(t taskRow) string { return t.Node }},
			{name: "DesiredState", header: "DESIRED STATE", cell: func(t taskRow) string { return capitalised(string(t.Desired)) }},
			{name: "CurrentState", header: "CURRENT STATE", cell: func(t taskRow) string {
				return strings.TrimSpace(capitalised(string(t.State)) + " " + ago(now, t.Since))
			}},
			{name: "Error", header: "ERROR", cell: func(t taskRow) string {
				if whole || t.Error == "" {
					return t.Error
				}
				return shorten(oneLine(t.Error), maxErrorWidth)
			}},
			{name: "Service", header: "SERVICE", cell: func(t taskRow) string { return t.Service }, hidden: true},
			{name: "Slot", header: "SLOT", cell: func(t taskRow) string { return fmt.Sprint(t.Slot) }, hidden: true},
			{name: "Address", header: "ADDRESS", cell: func(t taskRow) string { return t.Address }, hidden: true},
		},
		id: func(t taskRow) string { return shortID(t.ID, whole) },
	}
}

// taskName is docker's: greeters.1, or for a global service, whose tasks have no slot, lamp.pi1. Where no node fits a
// global service, one task without either says so.
func taskName(t client.Task) string {
	switch {
	case t.Slot != 0:
	case t.Node != "":
		return t.Service + "." + t.Node
	default:
		return t.Service
	}
	return fmt.Sprintf("%s.%d", t.Service, t.Slot)
}

// wanted tells whether the task is one that shall run, not one that is on its way out.
func wanted(t client.Task) bool { return t.Desired == cluster.Running }
