package worker

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// publish writes this node's report if it says anything new. The lock is held.
func (w *Worker) publish() error {
	var r cluster.Report
	r.Node, r.Warnings = w.cfg.Describe()
	r.Images, r.Released, r.Leaving = w.images, w.cfg.Released(), w.cfg.Leaving()
	for _, t := range w.tasks {
		if t.status.Service == "" {
			continue // only a trace of it is left, to be removed
		}
		status := t.status
		if t.address.IsValid() {
			status.Address = t.address.String()
		}
		r.Tasks = append(r.Tasks, status)
	}
	r.History = w.history
	slices.SortFunc(r.Tasks, func(a, b cluster.TaskStatus) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.ID, b.ID))
	})
	raw, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("report of this node: %w", err)
	}
	if bytes.Equal(raw, w.report) {
		return nil
	}
	key := cluster.ReportKey(w.cfg.Store.Self())
	if _, err := w.cfg.Store.Put(key, raw); err != nil {
		return fmt.Errorf("report of this node: %w", err)
	}
	w.report = raw
	w.first.Do(func() { close(w.told) })
	return w.cfg.Publish(key)
}

// exitText says how a container ended.
func exitText(code int) string {
	if code > 128 && code < 160 {
		if name := unix.SignalName(unix.Signal(code - 128)); name != "" {
			return fmt.Sprintf("ended by %s (exit code %d)", name, code)
		}
	}
	return fmt.Sprintf("ended with exit code %d", code)
}
