package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// casTries bounds how often a change is tried anew because someone else was quicker.
const casTries = 10

var errBusy = problem{http.StatusConflict, errors.New("others change the same at the same time: try again")}

// today is the time for people to read.
func today() time.Time { return time.Now().UTC().Truncate(time.Second) }

// change stores what turn makes of the service, as it is by then. One at a time: see admit.
func (m *Member) change(name string, turn func(view.View, cluster.Service) (cluster.Service, error)) (cluster.Service, error) {
	m.changing.Lock()
	defer m.changing.Unlock()
	key := cluster.ServiceKey(name)
	for range casTries {
		v := m.View()
		s, err := find(v, name)
		if err != nil {
			return s, err
		}
		if s, err = turn(v, s); err != nil {
			return s, err
		}
		raw, err := json.Marshal(s)
		if err != nil {
			return s, err
		}
		if _, err := m.Store.PutIf(key, v.Versions[key], raw); errors.Is(err, state.ErrConflict) {
			continue
		} else if err != nil {
			return s, err
		}
		return s, nil
	}
	return cluster.Service{}, errBusy
}

func scaleService(m *Member, r *http.Request) (any, error) {
	in, err := read[client.Scale](r)
	if err != nil {
		return nil, err
	}
	if err := cluster.ValidateReplicas(in.Replicas); err != nil {
		return nil, badRequest(err)
	}
	name := r.PathValue("name")
	s, err := m.change(name, func(_ view.View, s cluster.Service) (cluster.Service, error) {
		switch {
		case s.Spec.Mode.Job():
			return s, badRequest(fmt.Errorf("service %s is a %s and cannot be scaled: its tasks end", name, s.Spec.Mode))
		case s.Spec.Mode != cluster.Replicated:
			return s, badRequest(fmt.Errorf("service %s is %s: it has one task on every node and cannot be scaled", name, s.Spec.Mode))
		}
		return s.Scaled(in.Replicas, today()), nil
	})
	if err != nil {
		return nil, err
	}
	return m.write(r, s.ID, cluster.ServiceKey(name))
}

func updateService(m *Member, r *http.Request) (any, error) {
	in, err := read[client.ServiceUpdate](r)
	if err != nil {
		return nil, err
	}
	name, v := r.PathValue("name"), m.View()
	old, err := find(v, name)
	if err != nil {
		return nil, err
	}
	spec := in.Spec.WithDefaults()
	if err := changeable(v, old, &spec, in.Version); err != nil {
		return nil, err
	}
	if err := repin(r.Context(), m, v, old.Spec, &spec); err != nil {
		return nil, err
	}
	// Anything may have happened while the registry was asked.
	s, err := m.change(name, func(v view.View, s cluster.Service) (cluster.Service, error) {
		if err := changeable(v, s, &spec, in.Version); err != nil {
			return s, err
		}
		return changed(s, spec, today()), nil
	})
	if err != nil {
		return nil, err
	}
	return m.write(r, s.ID, cluster.ServiceKey(name))
}

// changeable checks all that can be checked of a change without asking anyone, and pins what the spec names.
func changeable(v view.View, s cluster.Service, spec *cluster.Spec, version string) error {
	name := s.Spec.Name
	if spec.Name != name {
		return badRequest(fmt.Errorf("service %s cannot be renamed to %q: remove it and create another", name, spec.Name))
	}
	if spec.Mode != s.Spec.Mode {
		return badRequest(fmt.Errorf("service %s is %s and cannot become %s: remove it and create another", name, s.Spec.Mode, spec.Mode))
	}
	if err := spec.Validate(); err != nil {
		return badRequest(err)
	}
	switch version {
	case "":
		return badRequest(fmt.Errorf("service %s: the version is missing: give the one that GET /v1/services/%s answers with", name, name))
	case v.Versions[cluster.ServiceKey(name)].String():
	default:
		return errChanged(name)
	}
	if err := pin(v, spec); err != nil {
		return err
	}
	if slices.Equal(spec.Ports, s.Spec.Ports) {
		return nil // two sides of a partition may have published one port: neither must be kept from other changes by that
	}
	if err := cluster.PortConflict(*spec, v.Services); err != nil {
		return conflict("%w", err)
	}
	return nil
}

func errChanged(service string) error {
	return conflict("service %s was changed by someone else meanwhile: look at it and try again", service)
}

// repin keeps the bytes that the service runs, or looks up anew what its image is: when it is another one, when the
// digest is not theirs, and when all tasks are to be replaced in any case.
func repin(ctx context.Context, m *Member, v view.View, old cluster.Spec, spec *cluster.Spec) error {
	was, c := old.Container, &spec.Container
	if c.Image == was.Image && c.Digest == was.Digest && spec.Force == old.Force {
		c.Platforms = was.Platforms
		return nil
	}
	return resolve(ctx, m, v, spec)
}

// changed is the service with another spec. The number of replicas is not a part of what a rollback takes back, and
// without another change it is no update.
func changed(s cluster.Service, spec cluster.Spec, now time.Time) cluster.Service {
	if spec.Replicas != s.Spec.Replicas {
		s = s.Scaled(spec.Replicas, now)
	}
	if !same(s.Spec.WithDefaults(), spec) {
		s = s.Changed(spec, now)
	}
	return s
}

// same tells whether two specs are stored alike.
func same(a, b cluster.Spec) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

func rollbackService(m *Member, r *http.Request) (any, error) {
	name, version := r.PathValue("name"), r.URL.Query().Get("version")
	s, err := m.change(name, func(v view.View, s cluster.Service) (cluster.Service, error) {
		if version != "" && version != v.Versions[cluster.ServiceKey(name)].String() {
			return s, errChanged(name)
		}
		back, err := s.RolledBack(false, today())
		if err != nil {
			return s, conflict("%w", err)
		}
		if err := pinned(v, back.Spec); err != nil {
			return s, err
		}
		// What it published then may be another's now.
		if err := cluster.PortConflict(back.Spec, v.Services); err != nil {
			return s, conflict("%w", err)
		}
		return back, nil
	})
	if err != nil {
		return nil, err
	}
	return m.write(r, s.ID, cluster.ServiceKey(name))
}
