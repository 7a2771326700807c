package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

func listNodes(m *Member, r *http.Request) (any, error) {
	detail, err := switched(r.URL.Query(), "detail")
	if err != nil {
		return nil, err
	}
	v := m.View()
	lines := nodes(v)
	if !detail {
		return lines, nil
	}
	all := make([]client.Node, 0, len(lines))
	for _, n := range lines {
		all = append(all, described(v, n))
	}
	return all, nil
}

func getNode(m *Member, r *http.Request) (any, error) {
	v := m.View()
	found, err := findNode(v, r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return node(v, found.ID), nil
}

// findNode finds a node by its name, its ID or the beginning of its ID. Two Pis may have one name.
func findNode(v view.View, text string) (cluster.Member, error) {
	var named, prefixed []cluster.Member
	for _, m := range v.Members {
		switch {
		case m.ID == text:
			return m, nil
		case m.Name == text:
			named = append(named, m)
		case len(text) >= 4 && strings.HasPrefix(m.ID, text):
			prefixed = append(prefixed, m)
		}
	}
	for _, found := range [][]cluster.Member{named, prefixed} {
		if len(found) == 1 {
			return found[0], nil
		}
		if len(found) > 1 {
			var ids []string
			for _, m := range found {
				ids = append(ids, m.ID)
			}
			return cluster.Member{}, conflict("%d nodes go by %s: use an ID, one of %s", len(found), text, strings.Join(ids, ", "))
		}
	}
	return cluster.Member{}, notFound("no node named %s: `piswarm node ls` lists them", text)
}

func updateNode(m *Member, r *http.Request) (any, error) {
	in, err := read[client.NodeUpdate](r)
	if err != nil {
		return nil, err
	}
	if err := checkUpdate(in); err != nil {
		return nil, badRequest(err)
	}
	for range casTries {
		v := m.View()
		found, err := findNode(v, r.PathValue("name"))
		if err != nil {
			return nil, err
		}
		key := cluster.NodeKey(found.ID)
		if in.Version != "" && in.Version != v.Versions[key].String() {
			return nil, conflict("node %s was changed by someone else meanwhile: look at it and try again", found.Name)
		}
		s := v.SettingsOf(found.ID)
		if s.Name == "" {
			s.Name = found.Name
		}
		if in.Availability != "" {
			s.Availability = in.Availability
		}
		if in.Role != "" {
			s.Role = in.Role
		}
		if s.Labels = maps.Clone(s.Labels); s.Labels == nil {
			s.Labels = map[string]string{}
		}
		for _, key := range in.LabelsRemove {
			if _, ok := s.Labels[key]; !ok {
				return nil, badRequest(fmt.Errorf("node %s has no label %s", found.Name, key))
			}
			delete(s.Labels, key)
		}
		maps.Copy(s.Labels, in.LabelsAdd)
		raw, err := json.Marshal(s)
		if err != nil {
			return nil, err
		}
		if _, err := m.Store.PutIf(key, v.Versions[key], raw); errors.Is(err, state.ErrConflict) {
			continue
		} else if err != nil {
			return nil, err
		}
		return m.write(r, found.ID, key)
	}
	return nil, errBusy
}

// maxRemoved bounds how many removed nodes are remembered: the longest removed are forgotten beyond it. Nothing but a
// node that was off all the while could still come back by that, with a token that has not changed since.
const maxRemoved = 128

// removeNode takes a node out of the cluster for good. If it is on, it takes itself off its machine when it learns of it.
func removeNode(m *Member, r *http.Request) (any, error) {
	force, err := switched(r.URL.Query(), "force")
	if err != nil {
		return nil, err
	}
	v := m.View()
	found, err := findNode(v, r.PathValue("name"))
	if err != nil {
		return nil, err
	}
	switch {
	case found.ID == v.Self:
		return nil, conflict("node %s is the one that was asked: run `piswarm leave` on it", found.Name)
	case found.Condition == cluster.Ready && !force:
		return nil, conflict("node %s is ready: drain it (piswarm node update --availability drain %s) and run `piswarm leave` on it, or use --force", found.Name, found.Name)
	}
	// First what makes it last: should it write its own record anew, that counts for nothing.
	raw, err := json.Marshal(cluster.Removed{Name: found.Name})
	if err != nil {
		return nil, err
	}
	if _, err := m.Store.Put(cluster.RemovedKey(found.ID), raw); err != nil {
		return nil, err
	}
	keys := append([]string{cluster.NodeKey(found.ID), cluster.ReportKey(found.ID)}, longestRemoved(m.Store)...)
	for _, key := range keys {
		if _, _, err := m.Store.Delete(key); err != nil {
			return nil, err
		}
	}
	written, err := m.write(r, found.ID, append(keys, cluster.RemovedKey(found.ID))...)
	if err != nil {
		return nil, err
	}
	// It is no member whatever the gossip says. One that is off is not looked for any more.
	if found.Condition != cluster.Ready {
		if err := m.Forget(found.ID); err != nil {
			written.Warning = fmt.Sprintf("node %s is removed, but other nodes may go on looking for it: %v", found.Name, err)
		}
	}
	return written, nil
}

// longestRemoved are the keys of the removed nodes that are too many to remember.
func longestRemoved(store *state.Store) []string {
	records := store.List(cluster.RemovedKey(""))
	slices.SortFunc(records, func(a, b state.Record) int { return a.Version.Compare(b.Version) })
	var keys []string
	for _, r := range records[:max(0, len(records)-maxRemoved)] {
		keys = append(keys, r.Key)
	}
	return keys
}

func checkUpdate(in client.NodeUpdate) error {
	switch in.Availability {
	case "", cluster.Active, cluster.Pause, cluster.Drain:
	default:
		return fmt.Errorf("availability %q: want active, pause or drain", in.Availability)
	}
	switch in.Role {
	case "", cluster.Manager, cluster.Worker:
	default:
		return fmt.Errorf("role %q: want manager (may lead) or worker (never leads)", in.Role)
	}
	if in.Availability == "" && in.Role == "" && len(in.LabelsAdd) == 0 && len(in.LabelsRemove) == 0 {
		return errors.New("nothing to change: name an availability, a role or a label")
	}
	return cluster.ValidateLabels(in.LabelsAdd)
}
