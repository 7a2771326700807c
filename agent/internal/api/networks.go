package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

func listNetworks(m *Member, _ *http.Request) (any, error) {
	v := m.View()
	all := make([]client.Network, 0, len(v.Networks))
	for _, n := range v.Networks {
		all = append(all, client.Network{Network: n, Services: attached(v, n.Name)})
	}
	slices.SortFunc(all, func(a, b client.Network) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func getNetwork(m *Member, r *http.Request) (any, error) {
	v, name := m.View(), r.PathValue("name")
	n, ok := v.Networks[name]
	if !ok {
		return nil, noNetwork(name)
	}
	return client.Network{Network: n, Services: attached(v, name)}, nil
}

func noNetwork(name string) error {
	return notFound("no network named %s: GET /v1/networks lists them", name)
}

// attached are the names of the services that belong to a network, or may go back to a spec that does.
func attached(v view.View, network string) []string {
	names := []string{}
	for _, s := range v.Services {
		if slices.ContainsFunc(present(v, s), func(spec cluster.Spec) bool {
			return slices.ContainsFunc(spec.Networks, func(n cluster.NetworkRef) bool { return n.Name == network })
		}) {
			names = append(names, s.Spec.Name)
		}
	}
	return names
}

func createNetwork(m *Member, r *http.Request) (any, error) {
	in, err := read[client.NetworkCreate](r)
	if err != nil {
		return nil, err
	}
	n := cluster.Network{ID: newID(), Name: in.Name, Labels: in.Labels, CreatedAt: today()}
	if err := n.Validate(); err != nil {
		return nil, badRequest(err)
	}
	raw, err := json.Marshal(n)
	if err != nil {
		return nil, err
	}
	if len(raw) > state.MaxValue {
		return nil, badRequest(fmt.Errorf("network %s: its labels are longer than %d KiB together", n.Name, state.MaxValue>>10))
	}
	m.changing.Lock()
	_, err = m.Store.PutIf(cluster.NetworkKey(n.Name), state.Version{}, raw)
	m.changing.Unlock()
	if errors.Is(err, state.ErrConflict) {
		return nil, conflict("network %s exists already", n.Name)
	}
	if err != nil {
		return nil, err
	}
	return m.write(r, n.ID, cluster.NetworkKey(n.Name))
}

// removeNetwork removes a network that no service of this node's view belongs to. One at a time with the changes of
// services: none must join what is going.
func removeNetwork(m *Member, r *http.Request) (any, error) {
	name := r.PathValue("name")
	id, err := func() (string, error) {
		m.changing.Lock()
		defer m.changing.Unlock()
		v := m.View()
		n, ok := v.Networks[name]
		if !ok {
			return "", noNetwork(name)
		}
		if used := attached(v, name); len(used) > 0 {
			return "", conflict("network %s is in use by %s: remove it there first", name, named(used))
		}
		_, _, err := m.Store.Delete(cluster.NetworkKey(name))
		return n.ID, err
	}()
	if err != nil {
		return nil, err
	}
	return m.write(r, id, cluster.NetworkKey(name))
}
