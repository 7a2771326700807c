package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

func listServices(m *Member, r *http.Request) (any, error) {
	detail, err := switched(r.URL.Query(), "detail")
	if err != nil {
		return nil, err
	}
	v := m.View()
	if !detail {
		return services(v), nil
	}
	all := make([]client.Service, 0, len(v.Services))
	for _, s := range v.Services {
		all = append(all, service(v, s))
	}
	return all, nil
}

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
	query := r.URL.Query()
	name := query.Get("service")
	if name != "" {
		if _, err := find(v, name); err != nil {
			return nil, err
		}
	}
	history, err := switched(query, "history")
	if err != nil {
		return nil, err
	}
	return tasks(v, name, history), nil
}

// switched reads a part of the query that is true or false; left out, it is false.
func switched(query url.Values, name string) (bool, error) {
	text := query.Get(name)
	if text == "" {
		return false, nil
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		return false, badRequest(fmt.Errorf("%s=%s: want true or false", name, text))
	}
	return on, nil
}

// resolveLimit bounds how long a registry may take to say what an image is.
const resolveLimit = time.Minute

func createService(m *Member, r *http.Request) (any, error) {
	spec, err := read[cluster.Spec](r)
	if err != nil {
		return nil, err
	}
	spec = spec.WithDefaults()
	v := m.View()
	if err := admissible(v, &spec); err != nil {
		return nil, err
	}
	if err := resolve(r.Context(), m, v, &spec); err != nil {
		return nil, err
	}
	// Anything may have happened while the registry was asked. From here on one at a time: two services must not both
	// find the same port free.
	m.changing.Lock()
	s, err := admit(m, spec)
	m.changing.Unlock()
	if err != nil {
		return nil, err
	}
	return m.write(r, s.ID, cluster.ServiceKey(spec.Name))
}

// admit puts the service into the state if nothing speaks against it.
func admit(m *Member, spec cluster.Spec) (cluster.Service, error) {
	v := m.View()
	if err := admissible(v, &spec); err != nil {
		return cluster.Service{}, err
	}
	now := today()
	s := cluster.Service{
		ID: newID(), Spec: spec, SpecVersion: cluster.SpecVersion(spec), VirtualIP: virtualIP(v, spec.Name), CreatedAt: now, UpdatedAt: now,
	}
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

// admissible checks all that can be checked without asking anyone, and pins what the spec names.
func admissible(v view.View, spec *cluster.Spec) error {
	if err := spec.Validate(); err != nil {
		return badRequest(err)
	}
	if _, ok := v.Service(spec.Name); ok {
		return conflict("service %s exists already: `piswarm update` changes it, `piswarm rm %s` removes it", spec.Name, spec.Name)
	}
	if err := cluster.PortConflict(*spec, v.Services); err != nil {
		return conflict("%w", err)
	}
	return pin(v, spec)
}

// resolve pins the image to a digest, so that every node runs the same bytes, and refuses one that no node can
// run.
func resolve(ctx context.Context, m *Member, v view.View, spec *cluster.Spec) error {
	ctx, cancel := context.WithTimeout(ctx, resolveLimit)
	defer cancel()
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
