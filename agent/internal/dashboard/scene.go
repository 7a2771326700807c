package dashboard

import (
	"cmp"
	"context"
	"strconv"
	"strings"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// scene is what the page shows, at one moment. It is shared by all viewers and never changed. Its parts can be compared,
// which is how a viewer is told of nothing but what has changed.
type scene struct {
	head     head
	nodes    map[string]node    // by ID
	services map[string]service // by name
	tasks    map[string]task    // by ID
	vitals   map[string]vitals  // of ready nodes, by ID
}

type head struct {
	Cluster string `json:"cluster"`
	Leader  string `json:"leader"`
}

type node struct {
	Name         string `json:"name"`
	Address      string `json:"address"`
	State        string `json:"state"`
	Availability string `json:"availability,omitempty"`
	Platform     string `json:"platform,omitempty"`
	Leader       bool   `json:"leader,omitempty"`
	Warnings     string `json:"warnings,omitempty"` // one a line
}

type service struct {
	Mode      string `json:"mode"`
	Image     string `json:"image"`
	Running   int    `json:"running"`
	Desired   int    `json:"desired"`
	Completed int    `json:"completed,omitempty"` // of a job
	Total     int    `json:"total,omitempty"`     // of a job
	Ports     string `json:"ports,omitempty"`     // 9000:5000/tcp, separated by spaces
	Update    string `json:"update,omitempty"`
	Message   string `json:"message,omitempty"` // why the update is paused, or went back
	Updated   int    `json:"updated,omitempty"` // tasks that run as the service is now, while it is updated
}

type task struct {
	Service string `json:"service"`
	Slot    int    `json:"slot,omitempty"`
	Node    string `json:"node,omitempty"` // ID; empty while it has none
	State   string `json:"state"`
	Desired string `json:"desired"`
	Error   string `json:"error,omitempty"`
}

// maxText bounds what a container can put into the page of everybody: why it failed.
const maxText = 300

// look reads the cluster, but for the vitals.
func look(ctx context.Context, c *client.Client) (*scene, error) {
	status, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	tasks, err := c.Tasks(ctx, "")
	if err != nil {
		return nil, err
	}
	waiting, err := c.Waiting(ctx)
	if err != nil {
		return nil, err
	}
	s := &scene{
		head:     head{status.Cluster, status.Leader},
		nodes:    make(map[string]node, len(status.Nodes)+len(waiting)),
		services: make(map[string]service, len(status.Services)),
		tasks:    make(map[string]task, len(tasks)),
	}
	for _, all := range [][]client.NodeStatus{waiting, status.Nodes} { // who is a member waits no more
		for _, n := range all {
			s.nodes[n.ID] = asNode(n)
		}
	}
	for _, t := range tasks {
		s.tasks[t.ID] = asTask(t)
	}
	for _, one := range status.Services {
		shown := asService(one)
		if s.services[one.Name], err = withProgress(ctx, c, one.Name, shown, tasks); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func asNode(n client.NodeStatus) node {
	out := node{
		Name: cmp.Or(n.Name, n.ID), Address: n.Address, State: string(n.State), Availability: string(n.Availability), Leader: n.Leader,
		Warnings: strings.Join(n.Warnings, "\n"),
	}
	if n.OS != "" {
		out.Platform = cluster.Platform{OS: n.OS, Arch: n.Arch, Variant: n.Variant}.String()
	}
	return out
}

func asTask(t client.Task) task {
	return task{
		Service: t.Service, Slot: t.Slot, Node: t.NodeID, State: string(t.State), Desired: string(t.Desired), Error: shorten(t.Error),
	}
}

func asService(s client.ServiceStatus) service {
	out := service{
		Mode: string(s.Mode), Image: s.Image, Running: s.Replicas.Running, Desired: s.Replicas.Desired,
		Completed: s.Replicas.Completed, Total: s.Replicas.Total, Message: shorten(s.Update.Message),
	}
	if s.Update.State != cluster.UpdateCompleted {
		out.Update = string(s.Update.State)
	}
	ports := make([]string, 0, len(s.Ports))
	for _, p := range s.Ports {
		text := strconv.Itoa(int(p.Published)) + ":" + strconv.Itoa(int(p.Target)) + "/" + string(p.Protocol)
		if p.Mode == cluster.PortHost {
			text += "/host"
		}
		ports = append(ports, text)
	}
	out.Ports = strings.Join(ports, " ")
	return out
}

// withProgress adds how many tasks follow an update that goes on. Which version that is has to be asked for.
func withProgress(ctx context.Context, c *client.Client, name string, s service, tasks []client.Task) (service, error) {
	if s.Update == "" || s.Update == string(cluster.RollbackCompleted) {
		return s, nil
	}
	whole, err := c.Service(ctx, name)
	if gone(err) {
		return s, nil
	} else if err != nil {
		return s, err
	}
	for _, t := range tasks {
		if t.Service == name && t.SpecVersion == whole.SpecVersion && t.State == cluster.Running {
			s.Updated++
		}
	}
	return s, nil
}

func shorten(s string) string { return clip(s, maxText) }

// clip cuts a text off after so many bytes.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
