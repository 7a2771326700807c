package agent

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/discovery"
	"github.com/piswarm/piswarm/agent/internal/gossip"
	"github.com/piswarm/piswarm/agent/internal/identity"
	"github.com/piswarm/piswarm/agent/internal/peers"
	"github.com/piswarm/piswarm/agent/internal/rotation"
	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// keyed is a session that can change its secrets, with real certificates and gossip.
func keyed(t *testing.T) *session {
	t.Helper()
	s := newSession(t)
	s.ends = make(chan error, 1)
	s.receiver = &rotation.Receiver{Change: s.changeKeys, Ready: func(string) bool { return true }}
	s.vault = &vault{store: s.store, secrets: func() []trust.Secret { return s.agent.membership().Keys.Secrets() }}
	var err error
	if s.certificate, err = trust.NewIdentity(s.agent.membership().Keys, s.store.Self()); err != nil {
		t.Fatal(err)
	}
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port.Close()
	s.gossip, err = gossip.Start(gossip.Config{
		ID: s.store.Self(), Key: s.agent.membership().Keys.Primary.GossipKey(), Address: netip.MustParseAddr("127.0.0.1"),
		Port: port.Addr().(*net.TCPAddr).Port, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.gossip.Close)
	s.peers = peers.New(peers.Config{TLS: s.certificate.Client, Address: func(string) (netip.AddrPort, bool) { return netip.AddrPort{}, false }})
	return s
}

// member answers as a node of that ID and keyring.
func member(t *testing.T, id string, keys trust.Keyring, handler http.HandlerFunc) netip.AddrPort {
	t.Helper()
	self, err := trust.NewIdentity(keys, id)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	server.Listener = tls.NewListener(server.Listener, self.Server())
	server.Start()
	t.Cleanup(server.Close)
	return netip.MustParseAddrPort(strings.TrimPrefix(server.URL, "http://"))
}

func says(state rotation.State) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(state) }
}

// A node that holds two secrets and hears of no driver goes where the others are, on disk too.
func TestFollowsTheOthers(t *testing.T) {
	s := keyed(t)
	former, next := s.agent.membership().Keys.Primary, trust.NewSecret()
	if _, err := s.changeKeys(func(k trust.Keyring) (trust.Keyring, error) { return k.Install(next) }); err != nil {
		t.Fatal(err)
	}
	if got := s.secretWarnings(); !slices.Equal(got, []string{unfinishedText}) {
		t.Errorf("warns of %v", got)
	}
	other := member(t, "other", trust.Keyring{Primary: next}, says(rotation.State{Primary: next.ClusterID()}))
	for _, want := range []trust.Keyring{{Primary: next, Other: former}, {Primary: next}, {Primary: next}} {
		s.look(t.Context(), other, false)
		if got := s.agent.membership().Keys; got != want {
			t.Fatalf("holds %+v, want %+v", rotation.StateOf(got), rotation.StateOf(want))
		}
	}
	if got := s.secretWarnings(); got != nil {
		t.Errorf("warns of %v", got)
	}
	kept, _, err := s.agent.dir.Membership()
	if err != nil || kept.Keys != (trust.Keyring{Primary: next}) || !reflect.DeepEqual(kept.Former, []string{former.ClusterID()}) {
		t.Errorf("on disk: %+v, %v", kept, err)
	}
}

// While a driver is at work, it and nobody else says what comes next.
func TestFollowsNobodyBesideTheDriver(t *testing.T) {
	s := keyed(t)
	next := trust.NewSecret()
	if _, err := s.receiver.Take("driver", rotation.Step{Do: rotation.Install, Token: next.Token()}); err != nil {
		t.Fatal(err)
	}
	before := s.agent.membership().Keys
	s.look(t.Context(), member(t, "other", trust.Keyring{Primary: next}, says(rotation.State{Primary: next.ClusterID()})), false)
	if s.agent.membership().Keys != before || s.secretWarnings() != nil {
		t.Error("it went on by itself, or warns of a change that is under way")
	}
}

// One that is alone and finds a member it knows behind another secret says so; a stranger says nothing to it.
func TestKnowsThatItMissedTheChange(t *testing.T) {
	for _, c := range []struct {
		id    string
		alone bool
		want  bool
	}{{"known", true, true}, {"known", false, false}, {"unknown", true, false}} {
		s := keyed(t)
		put(t, s, cluster.NodeKey("known"), cluster.Settings{Name: "pi2"})
		s.look(t.Context(), member(t, c.id, trust.Keyring{Primary: trust.NewSecret()}, says(rotation.State{})), c.alone)
		if got := slices.Equal(s.secretWarnings(), []string{strayText}); got != c.want {
			t.Errorf("%+v: says that it strayed: %v", c, got)
		}
	}
}

// One that knows no member but finds one that says to have been of its cluster looks there, and says so if that one goes by
// another secret.
func TestHintOfAChange(t *testing.T) {
	s := keyed(t)
	own := s.agent.membership().Keys.Primary.ClusterID()
	at := member(t, "unknown", trust.Keyring{Primary: trust.NewSecret()}, says(rotation.State{}))
	s.hint(discovery.Found{Was: "abcdefgh", Address: at})
	if s.look(t.Context(), at, true); s.secretWarnings() != nil {
		t.Error("another cluster's past counts")
	}
	s.hint(discovery.Found{Was: "abcdefgh," + own, Address: at})
	if got := s.hints.addresses(); len(got) != 1 || got[0].Addr() != at.Addr() {
		t.Errorf("looks at %v", got)
	}
	if s.look(t.Context(), at, true); s.secretWarnings() == nil {
		t.Error("it does not say that it strayed")
	}
	for i := range 1000 {
		s.hint(discovery.Found{Was: own, Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 1)})
	}
	if got := len(s.hints.addresses()); got > maxHints {
		t.Errorf("%d hints are kept", got)
	}
}

// What a member says of a removal ends the session, and so does the state.
func TestLearnsThatItWasRemoved(t *testing.T) {
	gone := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusGone)
		_, _ = w.Write([]byte(`{"error":"node x was removed"}`))
	}
	for what, learn := range map[string]func(s *session){
		"a look": func(s *session) {
			s.look(t.Context(), member(t, "other", s.agent.membership().Keys, gone), true)
		},
		"an exchange": func(s *session) {
			at := member(t, "other", s.agent.membership().Keys, gone)
			s.peers = peers.New(peers.Config{TLS: s.certificate.Client, Address: func(string) (netip.AddrPort, bool) { return at, true }})
			if _, err := (others{s}).Exchange(t.Context(), "other", nil); !errors.Is(err, peers.ErrRemoved) || !strings.Contains(err.Error(), "node x was removed") {
				t.Errorf("the exchange ends with %v", err)
			}
		},
		"the state": func(s *session) {
			put(t, s, cluster.RemovedKey(s.store.Self()), cluster.Removed{})
			go func() { _ = s.awaitRemoval(t.Context()) }()
		},
	} {
		s := keyed(t)
		learn(s)
		select {
		case err := <-s.ends:
			if !errors.Is(err, errRemoved) || !s.parted.Load() {
				t.Errorf("%s: %v, parted %v", what, err, s.parted.Load())
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s: nothing was learned", what)
		}
	}
}

// A removed node that has not learned of it yet does not write itself anew.
func TestRemovedDoesNotIntroduceItself(t *testing.T) {
	s := newSession(t)
	put(t, s, cluster.RemovedKey(s.store.Self()), cluster.Removed{})
	if err := s.place.pass(); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.store.Get(cluster.NodeKey(s.store.Self())); ok {
		t.Error("it introduced itself")
	}
}

func TestSettleRemembersTheFormerSecret(t *testing.T) {
	s := keyed(t)
	var want []string
	for range maxFormer + 3 {
		former := s.agent.membership().Keys.Primary
		next := trust.NewSecret()
		for _, turn := range []func(trust.Keyring, trust.Secret) (trust.Keyring, error){trust.Keyring.Install, trust.Keyring.Use} {
			if _, err := s.changeKeys(func(k trust.Keyring) (trust.Keyring, error) { return turn(k, next) }); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // the second time changes nothing
			if err := s.settleKeys(t.Context(), s.agent.membership().Keys); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.changeKeys(func(k trust.Keyring) (trust.Keyring, error) { return k.Finish(next) }); err != nil {
			t.Fatal(err)
		}
		want = append(want, former.ClusterID())
	}
	want = want[len(want)-maxFormer:]
	v := s.reader.View().Cluster
	if !slices.Equal(v.Former, want) || v.Name != defaultCluster || v.Pool != cluster.DefaultPool {
		t.Errorf("the settings are %+v, want former %v", v, want)
	}
	slices.Sort(want)
	if got := s.secrets(); !slices.Equal(got.Former, want) || got.Other != "" {
		t.Errorf("it says %+v", got)
	}
}

func TestRelated(t *testing.T) {
	a, b, c := trust.NewSecret(), trust.NewSecret(), trust.NewSecret()
	m := identity.Membership{Keys: trust.Keyring{Primary: b, Other: c}, Former: []string{a.ClusterID()}}
	for _, secret := range []trust.Secret{a, b, c} {
		if !related(m, []string{"other", secret.ClusterID()}) {
			t.Error("it does not know its own former secret")
		}
	}
	if related(m, []string{trust.NewSecret().ClusterID()}) || related(m, nil) {
		t.Error("any cluster is taken for the node's own")
	}
}
