package agent

import (
	"testing"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// TestTheNextSessionKnowsThePool holds that a node whose address changes keeps its part of the pod network, which it
// has learned of from the cluster that it joined.
func TestTheNextSessionKnowsThePool(t *testing.T) {
	s := newSession(t)
	put(t, s, cluster.SettingsKey, cluster.ClusterSettings{Name: "workshop", Pool: "10.99.0.0/16"})
	if err := s.place.choose(); err != nil {
		t.Fatal(err)
	}
	next := newPlace(&session{agent: s.agent, log: s.log})
	if got, want := next.subnet(), s.place.subnet(); got != want {
		t.Errorf("after the address has changed, containers live in %s, not %s", got, want)
	}
	if s.agent.member.Name != "workshop" {
		t.Errorf("the cluster's name is %q", s.agent.member.Name)
	}
}

// TestWhoLeavesDoesNotIntroduceItself holds that the record which a leaving node removes stays removed, and that one
// which was removed while it was away comes back with it.
func TestWhoLeavesDoesNotIntroduceItself(t *testing.T) {
	for _, leaves := range []bool{true, false} {
		s := newSession(t)
		if err := s.introduce(); err != nil {
			t.Fatal(err)
		}
		s.parted.Store(leaves)
		if _, _, err := s.store.Delete(cluster.NodeKey(s.store.Self())); err != nil {
			t.Fatal(err)
		}
		if err := s.place.pass(); err != nil {
			t.Fatal(err)
		}
		if _, known := s.store.Get(cluster.NodeKey(s.store.Self())); known == leaves {
			t.Errorf("leaving %t: known %t", leaves, known)
		}
	}
}
