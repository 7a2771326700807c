package dashboard

import (
	"net/http"
	"slices"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// nodeDetails is what a click on a node shows.
type nodeDetails struct {
	Role     string            `json:"role"`
	Labels   map[string]string `json:"labels"`
	Model    string            `json:"model,omitempty"`
	Kernel   string            `json:"kernel,omitempty"`
	Version  string            `json:"version,omitempty"`
	Runtime  string            `json:"runtime,omitempty"`
	Subnet   string            `json:"subnet,omitempty"`
	Memory   int64             `json:"memory,omitempty"` // bytes
	CPUs     int64             `json:"cpus,omitempty"`
	Images   int               `json:"images"`
	Warnings []string          `json:"warnings"`
}

func (d *Dashboard) node(w http.ResponseWriter, r *http.Request) {
	n, err := d.cfg.Client.Node(r.Context(), r.PathValue("id"))
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, nodeDetails{
		Role: string(n.Role), Labels: n.Labels, Model: n.Description.Model, Kernel: n.Description.Kernel, Version: n.Description.Version,
		Runtime: n.Description.Runtime, Subnet: n.Description.Subnet, Memory: n.Description.Capacity.MemoryBytes,
		CPUs: n.Description.Capacity.NanoCPUs / 1e9, Images: len(n.Images), Warnings: n.Warnings,
	})
}

// taskDetails is what a click on a task shows.
type taskDetails struct {
	Service string `json:"service"`
	Slot    int    `json:"slot,omitempty"`
	Node    string `json:"node,omitempty"` // name
	Image   string `json:"image"`
	State   string `json:"state"`
	Address string `json:"address,omitempty"`
	Error   string `json:"error,omitempty"`
	Ago     int64  `json:"ago"`  // seconds since it entered its state
	Past    []past `json:"past"` // of its slot, the latest first
	// Log are the last lines that it wrote. NoLog says why there are none to see.
	Log   []logLine `json:"log"`
	NoLog string    `json:"noLog,omitempty"`
}

// past is an earlier life.
type past struct {
	Node  string `json:"node"`
	State string `json:"state"`
	Error string `json:"error,omitempty"`
	Ago   int64  `json:"ago"`
}

// maxPast bounds the earlier lives that are shown.
const maxPast = 8

func (d *Dashboard) task(w http.ResponseWriter, r *http.Request) {
	id, ctx := r.PathValue("id"), r.Context()
	name := ""
	if s := d.hub.scene(); s != nil {
		name = s.tasks[id].Service // else all are looked through
	}
	all, err := d.cfg.Client.TaskHistory(ctx, name)
	if err != nil {
		fail(w, err)
		return
	}
	i := slices.IndexFunc(all, func(t client.Task) bool { return t.ID == id })
	if i < 0 {
		fail(w, &client.Error{Status: http.StatusNotFound, Message: "this task is gone"})
		return
	}
	t := all[i]
	out := taskDetails{
		Service: t.Service, Slot: t.Slot, Node: t.Node, Image: t.Image, State: string(t.State), Address: t.Address, Error: shorten(t.Error),
		Ago: ago(t.Since), Past: []past{}, Log: []logLine{},
	}
	for n, o := range all {
		same := o.Service == t.Service && o.Slot == t.Slot && (t.Slot != 0 || o.Node == t.Node)
		if n != i && same && o.Desired == client.Shutdown && len(out.Past) < maxPast {
			out.Past = append(out.Past, past{o.Node, string(o.State), shorten(o.Error), ago(o.Since)})
		}
	}
	switch _, signed := d.visitor(r); {
	case !signed:
		out.NoLog = "What containers print is shown to browsers that signed in: `piswarm dashboard` prints a link that does it."
	case t.State == cluster.Pending || t.Node == "":
		out.NoLog = "It has not run yet."
	default:
		out.Log, out.NoLog = d.lastLines(ctx, id)
	}
	answer(w, http.StatusOK, out)
}

// ago is how long ago a time was, by the clocks that Pis have.
func ago(t time.Time) int64 { return max(0, int64(time.Since(t).Seconds())) }
