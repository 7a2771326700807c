package agent

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/identity"
	"github.com/piswarm/piswarm/agent/internal/snapshot"
	"github.com/piswarm/piswarm/pkg/state"
)

func TestTheYoungerTwinYields(t *testing.T) {
	for _, c := range []struct {
		name        string
		mine, other time.Duration
		want        bool
	}{
		{"this one has just started", 2 * time.Second, time.Hour, true},
		{"the other has just started", time.Hour, 2 * time.Second, false},
		{"both booted together", 5 * time.Second, 5*time.Second + twinTie/2, true}, // by the certificates
	} {
		if got := yields(c.mine, []byte("b"), twin{age: c.other, certificate: []byte("a")}); got != c.want {
			t.Errorf("%s: yields %v", c.name, got)
		}
		// Seen from the other side, it is the other way round: never both, and never neither.
		if got := yields(c.other, []byte("a"), twin{age: c.mine, certificate: []byte("b")}); got == c.want {
			t.Errorf("%s: both say %v", c.name, got)
		}
	}
}

// TestRenewedNodeIsAStranger holds that a copy of a card keeps what the card knows, and none of the promises that
// the original has given to the cluster.
func TestRenewedNodeIsAStranger(t *testing.T) {
	paths := Paths{Data: t.TempDir(), Run: t.TempDir()}
	a := &Agent{opts: Options{Paths: paths}, log: slog.New(slog.DiscardHandler), dir: identity.Dir(paths.Data)}
	var err error
	if a.node, err = a.dir.Node(); err != nil {
		t.Fatal(err)
	}
	former := a.node.ID
	dir := filepath.Join(paths.Data, "state")
	file, _, err := snapshot.Open(dir, a.log)
	if err != nil {
		t.Fatal(err)
	}
	record := state.Record{Key: "service/web", Version: state.Version{Counter: 7, Node: former}, Value: []byte(`{}`)}
	kept := snapshot.Contents{State: state.Snapshot{Clock: 9, Joined: true, Records: []state.Record{record}}, Peers: []string{"192.168.1.21:7946"}}
	if err := file.Save(kept); err != nil {
		t.Fatal(err)
	}
	if err := a.renew("a test copies the card"); err != nil {
		t.Fatal(err)
	}
	if a.node.ID == former || a.notice == "" {
		t.Errorf("the node is %s still, and says %q", a.node.ID, a.notice)
	}
	_, got, err := snapshot.Open(dir, a.log)
	if err != nil {
		t.Fatal(err)
	}
	if got.State.Joined || got.State.Since != 9 {
		t.Errorf("it takes itself for a member: %+v", got.State)
	}
	if len(got.State.Records) != 1 || len(got.Peers) != 1 {
		t.Errorf("it has forgotten what the card knew: %+v", got)
	}
	if _, err := state.New(a.node.ID, got.State); err != nil {
		t.Errorf("its state cannot be used: %v", err)
	}
}
