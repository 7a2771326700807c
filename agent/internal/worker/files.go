package worker

import (
	"fmt"
	"io/fs"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// files are the secrets and configs that a container made of the spec finds. They are opened only now that it is about to
// be made. An error says what the task has to wait for: every node gets every secret, but one may come a moment after the
// service that uses it, or was sealed with a cluster's secret that this node does not have yet or has no more.
func (w *Worker) files(v view.View, spec cluster.Spec) ([]containers.File, error) {
	var all []containers.File
	for kind, ref := range spec.Container.Files {
		data, err := w.data(v, kind, *ref)
		if err != nil {
			return nil, fmt.Errorf("waits for %s %s: %w", kind, ref.Name, err)
		}
		all = append(all, containers.File{
			Target: ref.Target, Data: data, UID: int(ref.UID), GID: int(ref.GID), Mode: fs.FileMode(ref.Mode),
		})
	}
	return all, nil
}

func (w *Worker) data(v view.View, kind string, ref cluster.FileRef) ([]byte, error) {
	id, ok := v.FileID(kind, ref.Name)
	switch {
	case !ok:
		return nil, fmt.Errorf("it has not come to this node yet")
	case id != ref.ID:
		return nil, fmt.Errorf("the one by that name is not the one that the service was given: piswarm update --%s-add %s gives it that", kind, ref.Name)
	case kind == cluster.KindConfig:
		return v.Configs[ref.Name].Data, nil
	}
	return w.cfg.Open(cluster.SecretKey(ref.Name), v.Secrets[ref.Name].Sealed)
}

// starts tells whether the task can be started, and with which files. One that cannot yet says why.
func (w *Worker) starts(v view.View, t *task) ([]containers.File, bool) {
	files, err := w.files(v, t.spec)
	if err != nil {
		t.lacks = err.Error()
		t.enter(cluster.Pending)
		t.status.Error = t.lacks
		return nil, false
	}
	if t.lacks != "" && t.status.Error == t.lacks {
		t.status.Error = ""
	}
	t.lacks = ""
	return files, true
}
