package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// TestHandsOverToWhoStays holds that a node which shuts down waits for others to take its tasks, and not for those that
// shut down as well.
func TestHandsOverToWhoStays(t *testing.T) {
	for _, test := range []struct {
		name    string
		leaving bool
		want    time.Duration
	}{
		{"the other stays", false, noProgress},
		{"the other goes, too", true, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newSession(t, cluster.Member{ID: "other", Condition: cluster.Ready})
			put(t, s, cluster.ReportKey(s.store.Self()), cluster.Report{Tasks: []cluster.TaskStatus{{ID: "web.1", Service: "web"}}})
			put(t, s, cluster.ServiceKey("web"), cluster.Service{ID: "web-id", Spec: cluster.Spec{Name: "web", Mode: cluster.Replicated}})
			put(t, s, cluster.ReportKey("other"), cluster.Report{Leaving: test.leaving})
			began := time.Now()
			left := s.awaitMoved(t.Context())
			if took := time.Since(began); left != 1 || took != test.want {
				t.Errorf("%s: %d tasks left after %v, want 1 after %v", test.name, left, took, test.want)
			}
		})
	}
}
