package worker

import (
	"slices"
	"testing"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
)

var (
	zero  = cluster.Platform{OS: "linux", Arch: "arm", Variant: "v6"}
	arm64 = cluster.Platform{OS: "linux", Arch: "arm64"}
)

// shelf is a node in a table of sourceOf.
type shelf struct {
	id       string
	platform cluster.Platform
	slot     int           // of its task; 0: it has none
	state    cluster.State // of the task; empty: not reported
	holds    bool
	down     bool
	leaving  bool
	version  uint64
}

func TestSourceOf(t *testing.T) {
	const self = "n3"
	me := shelf{id: self, platform: zero, slot: 3}
	for name, test := range map[string]struct {
		nodes []shelf
		peers []string
		wait  string
	}{
		"alone": {[]shelf{me}, nil, ""},
		"this node has the lowest slot": {
			[]shelf{{id: self, platform: zero, slot: 1}, {id: "n1", platform: zero, slot: 2, state: cluster.Preparing}}, nil, ""},
		"another has the lowest slot and has not said anything": {
			[]shelf{me, {id: "n1", platform: zero, slot: 1}}, nil, "n1"},
		"another is fetching it": {
			[]shelf{me, {id: "n1", platform: zero, slot: 1, state: cluster.Preparing}}, nil, "n1"},
		"the other's try has failed": {
			[]shelf{me, {id: "n1", platform: zero, slot: 1, state: cluster.Failed}}, nil, ""},
		"the other has refused": {
			[]shelf{me, {id: "n1", platform: zero, slot: 1, state: cluster.Rejected}}, nil, ""},
		"the first has failed and the second is at it": {
			[]shelf{me, {id: "n1", platform: zero, slot: 1, state: cluster.Failed}, {id: "n2", platform: zero, slot: 2, state: cluster.Preparing}}, nil, "n2"},
		"the other was waited for in vain": {
			[]shelf{me, {id: "n7", platform: zero, slot: 1, state: cluster.Preparing}}, nil, ""},
		"the other is shutting down": {
			[]shelf{me, {id: "n1", platform: zero, slot: 1, leaving: true}}, nil, ""},
		"the other is down": {
			[]shelf{me, {id: "n1", platform: zero, slot: 1, down: true}}, nil, ""},
		"the other is of another platform": {
			[]shelf{me, {id: "n1", platform: arm64, slot: 1, state: cluster.Preparing}}, nil, ""},
		"two hold it": {
			[]shelf{me, {id: "n1", platform: zero, slot: 1, state: cluster.Preparing}, {id: "n5", platform: zero, holds: true}, {id: "n4", platform: zero, holds: true}},
			[]string{"n4", "n5"}, ""},
		"who holds it is down": {
			[]shelf{me, {id: "n4", platform: zero, holds: true, down: true}}, nil, ""},
		"holders of the same platform come first": {
			[]shelf{me, {id: "n1", platform: arm64, holds: true}, {id: "n4", platform: zero, holds: true}}, []string{"n4", "n1"}, ""},
		"only another platform holds it, and it is this node's turn": {
			[]shelf{me, {id: "n4", platform: arm64, holds: true}}, []string{"n4"}, ""},
		"another runs what was before": {
			[]shelf{me, {id: "n1", platform: zero, slot: 1, state: cluster.Pending, version: 1}}, nil, ""},
		"only another platform holds it, and it is another's turn": {
			[]shelf{me, {id: "n1", platform: zero, slot: 1, state: cluster.Preparing}, {id: "n4", platform: arm64, holds: true}}, []string{"n4"}, "n1"},
	} {
		t.Run(name, func(t *testing.T) {
			const digest = "sha256:1"
			s := cluster.Service{ID: "s", Spec: cluster.Spec{Name: "web", Container: cluster.Container{Digest: digest}}, Past: []cluster.Revision{{SpecVersion: 1}}}
			v := view.View{Self: self, Plans: map[string]cluster.Plan{}, Reports: map[string]cluster.Report{}}
			plan := cluster.Plan{ServiceID: s.ID}
			for _, n := range test.nodes {
				m := cluster.Member{ID: n.id, Condition: cluster.Ready}
				if n.down {
					m.Condition = cluster.Down
				}
				v.Members = append(v.Members, m)
				r := cluster.Report{Node: cluster.Description{Platform: n.platform}, Leaving: n.leaving}
				if n.holds {
					r.Images = []cluster.Image{{Digest: "sha256:0"}, {Digest: digest}}
				}
				if n.slot > 0 {
					plan.Tasks = append(plan.Tasks, cluster.Task{ID: "t-" + n.id, Slot: n.slot, Node: n.id, SpecVersion: n.version})
				}
				if n.state != "" {
					r.Tasks = []cluster.TaskStatus{{ID: "t-" + n.id, State: n.state}}
				}
				v.Reports[n.id] = r
			}
			slices.SortFunc(v.Members, func(a, b cluster.Member) int { return slices.Compare([]string{a.ID}, []string{b.ID}) })
			slices.SortFunc(plan.Tasks, func(a, b cluster.Task) int { return a.Slot - b.Slot })
			v.Plans["web"] = plan
			got := sourceOf(v, s, digest, zero, func(node string) bool { return node == "n7" })
			if !slices.Equal(got.peers, test.peers) || got.wait != test.wait {
				t.Errorf("peers %v, wait for %q; want %v and %q", got.peers, got.wait, test.peers, test.wait)
			}
		})
	}
}
