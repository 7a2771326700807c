package dashboard

import (
	"net/http"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// written tells the browser how a change ended.
func written(w http.ResponseWriter, out client.Written, err error) {
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, struct {
		Warning string `json:"warning,omitempty"`
	}{out.Warning})
}

func (d *Dashboard) setAvailability(w http.ResponseWriter, r *http.Request) {
	in, err := read[struct {
		Availability cluster.Availability `json:"availability"`
	}](r)
	if err == nil && in.Availability == "" {
		err = &client.Error{Status: http.StatusBadRequest, Message: "no availability given: want active, pause or drain"}
	}
	if err != nil {
		fail(w, err)
		return
	}
	out, err := d.cfg.Client.UpdateNode(r.Context(), r.PathValue("id"), client.NodeUpdate{Availability: in.Availability})
	written(w, out, err)
}

func (d *Dashboard) scale(w http.ResponseWriter, r *http.Request) {
	in, err := read[struct {
		Replicas *int `json:"replicas"`
	}](r)
	if err == nil && in.Replicas == nil {
		err = &client.Error{Status: http.StatusBadRequest, Message: "no replicas given"}
	}
	if err != nil {
		fail(w, err)
		return
	}
	out, err := d.cfg.Client.ScaleService(r.Context(), r.PathValue("name"), *in.Replicas)
	written(w, out, err)
}

// restart replaces all tasks of a service one after the other, as its update policy says. The spec goes from the API
// to the API; the browser sees none of it.
func (d *Dashboard) restart(w http.ResponseWriter, r *http.Request) {
	s, err := d.cfg.Client.Service(r.Context(), r.PathValue("name"))
	if err != nil {
		fail(w, err)
		return
	}
	s.Spec.Force++
	out, err := d.cfg.Client.UpdateService(r.Context(), r.PathValue("name"), client.ServiceUpdate{Spec: s.Spec, Version: s.Version})
	written(w, out, err)
}

func (d *Dashboard) remove(w http.ResponseWriter, r *http.Request) {
	out, err := d.cfg.Client.RemoveService(r.Context(), r.PathValue("name"))
	written(w, out, err)
}
