package scheduler

import (
	"fmt"
	"testing"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// shelf is 50 nodes and 1000 tasks in 20 services, each with reservations and a constraint.
func shelf() Input {
	in := Input{Plans: map[string]cluster.Plan{}, Status: map[string]Reported{}}
	for i := range 50 {
		id := fmt.Sprintf("node-%02d", i)
		in.Nodes = append(in.Nodes, Node{
			NodeFacts:    cluster.NodeFacts{ID: id, Hostname: id, Labels: map[string]string{"room": fmt.Sprint(i % 5)}},
			Platform:     cluster.Platform{OS: "linux", Arch: "arm64"},
			Capacity:     cluster.Amount{MemoryBytes: 4 << 30, NanoCPUs: 4e9},
			Availability: cluster.Active,
			Condition:    cluster.Ready,
			Settled:      true,
		})
	}
	for i := range 20 {
		s := cluster.Service{ID: fmt.Sprintf("service-%02d", i), SpecVersion: 1}
		s.Spec = cluster.Spec{Name: s.ID, Mode: cluster.Replicated, Replicas: 50}
		s.Spec.Resources.Reservations = cluster.Amount{MemoryBytes: 50 << 20, NanoCPUs: 1e8}
		s.Spec.Container.Platforms = []cluster.Platform{{OS: "linux", Arch: "arm", Variant: "v7"}}
		s.Spec.Placement = cluster.Placement{
			Strategy:    cluster.Spread,
			Spread:      []string{"node.labels.room"},
			Constraints: []cluster.Constraint{{Attribute: "node.labels.room", Not: true, Value: "4"}},
		}
		in.Services = append(in.Services, s)
	}
	return in
}

func BenchmarkPlaceAll(b *testing.B) {
	in := shelf()
	b.ReportAllocs()
	for b.Loop() {
		Decide(in)
	}
}

func BenchmarkNothingToDo(b *testing.B) {
	in := allRun(apply(shelf(), Decide(shelf())))
	b.ReportAllocs()
	for b.Loop() {
		if out := Decide(in); len(out.Plans) > 0 {
			b.Fatal("plans changed")
		}
	}
}

// BenchmarkNothingMayMove is a shelf of which two nodes have no work and all others, paused, keep theirs: every pass
// looks for a move and finds none.
func BenchmarkNothingMayMove(b *testing.B) {
	in := shelf()
	for i := range in.Services {
		in.Services[i].Spec.Placement.Constraints = nil
	}
	few := in
	few.Nodes = in.Nodes[2:]
	in = apply(in, Decide(few))
	for i := range few.Nodes {
		few.Nodes[i].Availability = cluster.Pause
	}
	in = allRun(in)
	b.ReportAllocs()
	for b.Loop() {
		if out := Decide(in); len(out.Plans) > 0 {
			b.Fatal("plans changed")
		}
	}
}

func BenchmarkNodeDown(b *testing.B) {
	in := allRun(apply(shelf(), Decide(shelf())))
	in.Nodes[0].Condition = cluster.Down
	b.ReportAllocs()
	for b.Loop() {
		if out := Decide(in); len(out.Plans) == 0 {
			b.Fatal("no plan changed")
		}
	}
}
