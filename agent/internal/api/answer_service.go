package api

import (
	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func services(v view.View) []client.ServiceStatus {
	all := make([]client.ServiceStatus, 0, len(v.Services))
	for _, s := range v.Services {
		all = append(all, service(v, s).Status)
	}
	return all
}

func service(v view.View, s cluster.Service) client.Service {
	st := client.ServiceStatus{
		ID: s.ID, Name: s.Spec.Name, Mode: s.Spec.Mode, Image: s.Spec.Container.Image, Replicas: count(v, s),
		Ports: []cluster.Port{}, Update: update(v, s),
	}
	st.Ports = append(st.Ports, s.Spec.Ports...)
	return client.Service{Service: s, Version: v.Versions[cluster.ServiceKey(s.Spec.Name)].String(), Status: st}
}

// count says how many tasks run and how many should. A slot of which two tasks run, because one of them is replaced by
// the other, is still one replica.
func count(v view.View, s cluster.Service) client.ReplicaCount {
	type place struct {
		slot int
		node string
	}
	wanted, running, completed := map[place]bool{}, map[place]bool{}, map[place]bool{}
	for _, t := range v.Plan(s) {
		at := place{slot: t.Slot}
		if s.Spec.Mode.PerNode() {
			at.node = t.Node
		}
		if t.Node != "" {
			wanted[at] = true
		}
		if t.Ended == cluster.Complete && t.SpecVersion == s.SpecVersion {
			completed[at] = true
		}
		if status, ok := v.Status(t.Node, t.ID); ok && status.State == cluster.Running && t.Ended == "" {
			running[at] = true
		}
	}
	n := client.ReplicaCount{Running: len(running), Desired: s.Spec.Replicas}
	if s.Spec.Mode.PerNode() {
		n.Desired = len(wanted)
	}
	if s.Spec.Mode.Job() {
		n.Total, n.Completed = n.Desired, len(completed)
		n.Desired -= n.Completed
		if most := s.Spec.MaxConcurrent; most > 0 {
			n.Desired = min(n.Desired, most)
		}
	}
	return n
}

// update says how far the last change of the service is. As long as the leader has not taken it up, what the plan says
// is about an earlier one.
func update(v view.View, s cluster.Service) client.UpdateStatus {
	u := plan(v, s).Update
	switch {
	case s.Generation > u.Generation && s.RollingBack:
		st := client.UpdateStatus{State: cluster.RollbackStarted}
		if len(s.Past) > 0 && s.Past[0].Failed {
			st.Message = u.Message // why it goes back
		}
		return st
	case s.Generation > u.Generation:
		return client.UpdateStatus{State: cluster.Updating}
	case u.State == "":
		return client.UpdateStatus{State: cluster.UpdateCompleted}
	}
	return client.UpdateStatus{State: u.State, Message: u.Message}
}

// plan is the leader's plan for the service, empty while it has not answered to it.
func plan(v view.View, s cluster.Service) cluster.Plan {
	if p, ok := v.Plans[s.Spec.Name]; ok && p.ServiceID == s.ID {
		return p
	}
	return cluster.Plan{}
}
