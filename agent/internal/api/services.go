package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

func getService(m *Member, r *http.Request) (any, error) {
	v := m.View()
	s, err := find(v, r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return service(v, s), nil
}

func find(v view.View, name string) (cluster.Service, error) {
	s, ok := v.Service(name)
	if !ok {
		return s, notFound("no service named %s: `piswarm ls` lists them", name)
	}
	return s, nil
}

func listTasks(m *Member, r *http.Request) (any, error) {
	v := m.View()
	name := r.URL.Query().Get("service")
	if name != "" {
		if _, err := find(v, name); err != nil {
			return nil, err
		}
	}
	return tasks(v, name), nil
}

// createLimit bounds how long a registry may take to say what an image is.
const createLimit = time.Minute

func createService(m *Member, r *http.Request) (any, error) {
	spec, err := read[cluster.Spec](r)
	if err != nil {
		return nil, err
	}
	spec = spec.WithDefaults()
	v := m.View()
	if err := admissible(v, spec); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), createLimit)
	defer cancel()
	if err := resolve(ctx, m, v, &spec); err != nil {
		return nil, err
	}
	// Anything may have happened while the registry was asked. From here on one at a time: two services must not both
	// find the same port free.
	m.creating.Lock()
	s, err := admit(m, spec)
	m.creating.Unlock()
	if err != nil {
		return nil, err
	}
	return m.write(r, s.ID, cluster.ServiceKey(spec.Name))
}

// admit puts the service into the state if nothing speaks against it.
func admit(m *Member, spec cluster.Spec) (cluster.Service, error) {
	v := m.View()
	if err := admissible(v, spec); err != nil {
		return cluster.Service{}, err
	}
	now := time.Now().UTC().Truncate(time.Second)
	s := cluster.Service{ID: newID(), Spec: spec, SpecVersion: 1, VirtualIP: virtualIP(v, spec.Name), CreatedAt: now, UpdatedAt: now}
	raw, err := json.Marshal(s)
	if err != nil {
		return s, err
	}
	_, err = m.Store.PutIf(cluster.ServiceKey(spec.Name), state.Version{}, raw)
	if errors.Is(err, state.ErrConflict) {
		err = conflict("service %s exists already", spec.Name)
	}
	return s, err
}

// admissible checks all that can be checked without asking anyone.
func admissible(v view.View, spec cluster.Spec) error {
	if err := spec.Validate(); err != nil {
		return badRequest(err)
	}
	if _, ok := v.Service(spec.Name); ok {
		return conflict("service %s exists already: `piswarm scale` changes it, `piswarm rm %s` removes it", spec.Name, spec.Name)
	}
	if err := cluster.PortConflict(spec, v.Services); err != nil {
		return conflict("%w", err)
	}
	return nil
}

// resolve pins the image to a digest, so that every node runs the same bytes, and refuses one that no node can
// run.
func resolve(ctx context.Context, m *Member, v view.View, spec *cluster.Spec) error {
	c := &spec.Container
	var err error
	if c.Image, c.Digest, c.Platforms, err = m.Images.Resolve(ctx, c.Image); err != nil {
		return problem{http.StatusUnprocessableEntity, err}
	}
	if len(c.Platforms) == 0 {
		return nil
	}
	var have []string
	for _, member := range v.Members {
		report, ok := v.Reports[member.ID]
		if !ok || report.Node.Platform.OS == "" || member.Condition == cluster.Left {
			continue
		}
		for _, p := range c.Platforms {
			if report.Node.Platform.Runs(p) {
				return nil
			}
		}
		if text := report.Node.Platform.String(); !slices.Contains(have, text) {
			have = append(have, text)
		}
	}
	if len(have) == 0 {
		return nil // no node has said yet what it is
	}
	var built []string
	for _, p := range c.Platforms {
		built = append(built, p.String())
	}
	return problem{http.StatusUnprocessableEntity, fmt.Errorf("image %s is built for %s, and no node of this cluster runs that: they are %s",
		c.Image, strings.Join(built, ", "), strings.Join(have, ", "))}
}

// virtualIP chooses the service's address inside containers.
func virtualIP(v view.View, name string) netip.Addr {
	pool, err := cluster.ParsePool(v.Cluster.Pool)
	if err != nil {
		return netip.Addr{} // the ingress gives it one as soon as the pool is known
	}
	taken := map[netip.Addr]bool{}
	for _, s := range v.Services {
		taken[s.VirtualIP] = true
	}
	return pool.ChooseVirtualIP(name, taken)
}

// newID makes the ID of a service: 25 letters and digits, as docker's.
func newID() string { return strings.ToLower(rand.Text())[:25] }

func removeService(m *Member, r *http.Request) (any, error) {
	s, err := find(m.View(), r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	key := cluster.ServiceKey(s.Spec.Name)
	if _, ok, err := m.Store.Delete(key); err != nil {
		return nil, err
	} else if !ok {
		return nil, notFound("no service named %s: `piswarm ls` lists them", s.Spec.Name)
	}
	return m.write(r, s.ID, key)
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
	for range casTries {
		v := m.View()
		s, err := find(v, name)
		if err != nil {
			return nil, err
		}
		if s.Spec.Mode != cluster.Replicated {
			return nil, badRequest(fmt.Errorf("service %s is %s: it has one task on every node and cannot be scaled", name, s.Spec.Mode))
		}
		s.Spec.Replicas = in.Replicas
		s.UpdatedAt = time.Now().UTC().Truncate(time.Second)
		raw, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		key := cluster.ServiceKey(name)
		if _, err := m.Store.PutIf(key, v.Versions[key], raw); errors.Is(err, state.ErrConflict) {
			continue
		} else if err != nil {
			return nil, err
		}
		return m.write(r, s.ID, key)
	}
	return nil, errBusy
}

// casTries bounds how often a change is tried anew because someone else was quicker.
const casTries = 10

var errBusy = problem{http.StatusConflict, errors.New("others change the same at the same time: try again")}
