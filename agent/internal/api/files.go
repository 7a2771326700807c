package api

import (
	"cmp"
	"crypto/subtle"
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

func listSecrets(m *Member, _ *http.Request) (any, error) {
	v := m.View()
	heads := make([]cluster.Head, 0, len(v.Secrets))
	for _, s := range v.Secrets {
		heads = append(heads, s.Head)
	}
	return files(v, cluster.KindSecret, heads), nil
}

func listConfigs(m *Member, _ *http.Request) (any, error) {
	v := m.View()
	heads := make([]cluster.Head, 0, len(v.Configs))
	for _, c := range v.Configs {
		heads = append(heads, c.Head)
	}
	return files(v, cluster.KindConfig, heads), nil
}

// files are lines of a list in order of name.
func files(v view.View, kind string, heads []cluster.Head) []client.File {
	slices.SortFunc(heads, func(a, b cluster.Head) int { return cmp.Compare(a.Name, b.Name) })
	all := make([]client.File, 0, len(heads))
	for _, h := range heads {
		all = append(all, client.File{Head: h, Services: users(v, kind, h.Name)})
	}
	return all
}

func getSecret(m *Member, r *http.Request) (any, error) {
	v, name := m.View(), r.PathValue("name")
	s, ok := v.Secrets[name]
	if !ok {
		return nil, noFile(cluster.KindSecret, name)
	}
	return client.File{Head: s.Head, Services: users(v, cluster.KindSecret, name)}, nil
}

func getConfig(m *Member, r *http.Request) (any, error) {
	v, name := m.View(), r.PathValue("name")
	c, ok := v.Configs[name]
	if !ok {
		return nil, noFile(cluster.KindConfig, name)
	}
	return client.Config{File: client.File{Head: c.Head, Services: users(v, cluster.KindConfig, name)}, Data: c.Data}, nil
}

func noFile(kind, name string) error {
	return notFound("no %s named %s: `piswarm %s ls` lists them", kind, name, kind)
}

func createSecret(m *Member, r *http.Request) (any, error) {
	in, err := readFile(r, cluster.KindSecret)
	if err != nil {
		return nil, err
	}
	key, head := cluster.SecretKey(in.Name), newHead(in)
	// From here on, and on every disk and in every message, it is sealed.
	sealed, err := m.Seal(key, in.Data)
	if err != nil {
		return nil, err
	}
	return m.putFile(r, key, head, cluster.Secret{Head: head, Sealed: sealed})
}

func createConfig(m *Member, r *http.Request) (any, error) {
	in, err := readFile(r, cluster.KindConfig)
	if err != nil {
		return nil, err
	}
	head := newHead(in)
	return m.putFile(r, cluster.ConfigKey(in.Name), head, cluster.Config{Head: head, Data: in.Data})
}

func newHead(in client.FileCreate) cluster.Head {
	return cluster.Head{ID: newID(), Name: in.Name, Labels: in.Labels, CreatedAt: today()}
}

// readFile reads the body of a request to make a secret or a config. The reader's own error may repeat a part of the body,
// and so of a secret.
func readFile(r *http.Request, kind string) (client.FileCreate, error) {
	in, err := read[client.FileCreate](r)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return in, badRequest(fmt.Errorf("the %s is larger than %d KiB, the most that every node keeps a copy of", kind, cluster.MaxFileSize>>10))
	case err != nil:
		return in, badRequest(errors.New(`the body of the request is not well formed: want {"name":…,"labels":{…},"data":…}, the data in base64`))
	}
	if err := cluster.ValidateFile(kind, in.Name, in.Labels, len(in.Data)); err != nil {
		return in, badRequest(err)
	}
	return in, nil
}

// putFile stores a secret or a config that there is not yet.
func (m *Member) putFile(r *http.Request, key string, head cluster.Head, value any) (any, error) {
	kind, name := cluster.SplitKey(key)
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	if len(raw) > state.MaxValue {
		return nil, badRequest(fmt.Errorf("%s %s: its labels are too long: with it they may have %d KiB together", kind, name, state.MaxValue>>10))
	}
	m.changing.Lock()
	_, err = m.Store.PutIf(key, state.Version{}, raw)
	m.changing.Unlock()
	if errors.Is(err, state.ErrConflict) {
		return nil, conflict("%s %s exists already, and none ever changes: make one of another name, and have its services use that: piswarm update --%s-rm %s --%s-add NEW SERVICE",
			kind, name, kind, name, kind)
	}
	if err != nil {
		return nil, err
	}
	return m.write(r, head.ID, key)
}

func sameSecret(m *Member, r *http.Request) (any, error) {
	return m.sameFile(r, cluster.KindSecret, func(v view.View, name string) (cluster.Head, []byte, error) {
		s, ok := v.Secrets[name]
		if !ok {
			return s.Head, nil, noFile(cluster.KindSecret, name)
		}
		plain, err := m.Open(cluster.SecretKey(name), s.Sealed)
		return s.Head, plain, err
	})
}

func sameConfig(m *Member, r *http.Request) (any, error) {
	return m.sameFile(r, cluster.KindConfig, func(v view.View, name string) (cluster.Head, []byte, error) {
		c, ok := v.Configs[name]
		if !ok {
			return c.Head, nil, noFile(cluster.KindConfig, name)
		}
		return c.Head, c.Data, nil
	})
}

// sameFile takes a secret or a config as it is to be, and refuses one that is not so already: whoever deploys the same
// twice is served by that, and none ever changes. It tells nothing that its caller could not have a container read.
func (m *Member) sameFile(r *http.Request, kind string, find func(v view.View, name string) (cluster.Head, []byte, error)) (any, error) {
	in, err := readFile(r, kind)
	if err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	if in.Name != name {
		return nil, badRequest(fmt.Errorf("%s %s cannot be renamed to %s: make another one", kind, name, in.Name))
	}
	head, data, err := find(m.View(), name)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(data, in.Data) != 1 || !maps.Equal(head.Labels, in.Labels) {
		return nil, conflict("%s %s exists already with another value or other labels, and none ever changes: make one of another name, and have its services use that", kind, name)
	}
	return client.Written{ID: head.ID, Holders: 1}, nil
}

func removeSecret(m *Member, r *http.Request) (any, error) {
	return m.removeFile(r, cluster.KindSecret, cluster.SecretKey(r.PathValue("name")))
}

func removeConfig(m *Member, r *http.Request) (any, error) {
	return m.removeFile(r, cluster.KindConfig, cluster.ConfigKey(r.PathValue("name")))
}

// removeFile removes a secret or a config that no service of this node's view uses. One at a time with the changes of
// services: none must take up what is going.
func (m *Member) removeFile(r *http.Request, kind, key string) (any, error) {
	name := r.PathValue("name")
	id, err := func() (string, error) {
		m.changing.Lock()
		defer m.changing.Unlock()
		v := m.View()
		id, ok := v.FileID(kind, name)
		if !ok {
			return "", noFile(kind, name)
		}
		if used := users(v, kind, name); len(used) > 0 {
			return "", conflict("%s %s is in use by %s: remove it there first, with piswarm update --%s-rm %s SERVICE", kind, name, named(used), kind, name)
		}
		_, _, err := m.Store.Delete(key)
		return id, err
	}()
	if err != nil {
		return nil, err
	}
	return m.write(r, id, key)
}

func named(names []string) string {
	if len(names) == 1 {
		return "service " + names[0]
	}
	return "services " + strings.Join(names, ", ")
}

// users are the names of the services that use the secret or config of that name.
func users(v view.View, kind, name string) []string {
	names := []string{}
	for _, s := range v.Services {
		if slices.ContainsFunc(present(v, s), func(spec cluster.Spec) bool { return uses(spec, kind, name) }) {
			names = append(names, s.Spec.Name)
		}
	}
	return names
}

func uses(spec cluster.Spec, kind, name string) bool {
	for k, ref := range spec.Container.Files {
		if k == kind && ref.Name == name {
			return true
		}
	}
	return false
}

// present are the specs that tasks of the service are made of. As long as an update is not over there are tasks of
// earlier ones, and it may go back to them.
func present(v view.View, s cluster.Service) []cluster.Spec {
	specs := []cluster.Spec{s.Spec}
	switch update(v, s).State {
	case cluster.UpdateCompleted, cluster.RollbackCompleted:
		return specs
	}
	for _, r := range s.Past {
		specs = append(specs, r.Spec)
	}
	return specs
}

// pin notes in the spec, whose lists are the caller's own, which secrets and configs its names mean now.
func pin(v view.View, spec *cluster.Spec) error {
	for kind, ref := range spec.Container.Files {
		id, ok := v.FileID(kind, ref.Name)
		if !ok {
			return badRequest(fmt.Errorf("service %s: no %s named %s: `piswarm %s ls` lists them, `piswarm %s create %s FILE` makes it",
				spec.Name, kind, ref.Name, kind, kind, ref.Name))
		}
		ref.ID = id
	}
	for _, n := range spec.Networks {
		if _, ok := v.Networks[n.Name]; !ok {
			return badRequest(fmt.Errorf("service %s: no network named %s: POST /v1/networks makes it", spec.Name, n.Name))
		}
	}
	return nil
}

// pinned refuses a spec of before whose secrets and configs are not there any more.
func pinned(v view.View, spec cluster.Spec) error {
	for kind, ref := range spec.Container.Files {
		if id, _ := v.FileID(kind, ref.Name); id != ref.ID {
			return conflict("service %s: the %s %s that it used before was removed: `piswarm update` gives it another", spec.Name, kind, ref.Name)
		}
	}
	for _, n := range spec.Networks {
		if _, ok := v.Networks[n.Name]; !ok {
			return conflict("service %s: the network %s that it belonged to before was removed: make it again", spec.Name, n.Name)
		}
	}
	return nil
}
