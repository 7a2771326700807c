package agent

import (
	"encoding/json"
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/piswarm/piswarm/agent/internal/identity"
	"github.com/piswarm/piswarm/agent/internal/replication"
	"github.com/piswarm/piswarm/agent/internal/snapshot"
	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// newSession returns the parts of a session that need no network, of a node that has joined and that knows nothing
// of the cluster yet. The other members are as given.
func newSession(t *testing.T, others ...cluster.Member) *session {
	paths := Paths{Data: t.TempDir(), Run: t.TempDir()}
	a := &Agent{
		opts: Options{Paths: paths}, log: slog.New(slog.DiscardHandler), dir: identity.Dir(paths.Data),
		name: "pi1", changed: make(chan struct{}),
	}
	var err error
	if a.node, err = a.dir.Node(); err != nil {
		t.Fatal(err)
	}
	a.member = &identity.Membership{Keys: trust.Keyring{Primary: trust.NewSecret()}, Name: defaultCluster, Pool: cluster.DefaultPool}
	s := &session{agent: a, log: a.log, opened: make(chan struct{})}
	if s.store, err = state.New(a.node.ID, state.Snapshot{}); err != nil {
		t.Fatal(err)
	}
	file, contents, err := snapshot.Open(filepath.Join(paths.Data, "state"), a.log)
	if err != nil {
		t.Fatal(err)
	}
	s.disk = &disk{file: file, peers: contents.Peers}
	s.state = replication.New(replication.Config{Store: s.store, Disk: s.disk, Peers: silence{}, MaxBroadcast: 1000, Log: s.log})
	members := append([]cluster.Member{{ID: a.node.ID, Condition: cluster.Ready}}, others...)
	s.reader = view.NewReader(s.store, func() []cluster.Member { return members }, s.log)
	s.place = newPlace(s)
	return s
}

// silence is a network without others.
type silence struct{ others }

func (silence) Broadcast([]byte) error { return nil }

func (silence) Ready() []string { return nil }

// put writes a record into the session's state.
func put(t *testing.T, s *session, key string, value any) {
	t.Helper()
	raw, err := json.Marshal(value)
	if err == nil {
		_, err = s.store.Put(key, raw)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestHalfASessionKnowsNoAddresses(t *testing.T) {
	s := newSession(t)
	s.disk.peers = []string{"192.168.1.21:7946"}
	reader := s.reader
	s.reader = nil
	if got := s.knownAddresses(); got != nil {
		t.Errorf("knows %v", got)
	}
	s.reader = reader
	close(s.opened)
	if got := s.knownAddresses(); len(got) != 1 || got[0] != netip.MustParseAddrPort("192.168.1.21:7946") {
		t.Errorf("knows %v", got)
	}
}
