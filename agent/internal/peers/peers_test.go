package peers

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/piswarm/piswarm/agent/internal/trust"
)

// node answers as a member; made counts the connections.
func node(t *testing.T, id *trust.Identity, handler http.HandlerFunc) (at netip.AddrPort, made *atomic.Int32) {
	t.Helper()
	made = new(atomic.Int32)
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	config := id.Server()
	inner := config.GetConfigForClient
	config.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		made.Add(1)
		return inner(h)
	}
	server.Listener = tls.NewListener(server.Listener, config)
	server.Start()
	t.Cleanup(server.Close)
	return netip.MustParseAddrPort(strings.TrimPrefix(server.URL, "http://")), made
}

func identity(t *testing.T, k trust.Keyring, id string) *trust.Identity {
	t.Helper()
	i, err := trust.NewIdentity(k, id)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func echo(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }

// Renew makes for new connections by the keyring of then; until then one connection serves all calls.
func TestRenew(t *testing.T) {
	a, b := trust.NewSecret(), trust.NewSecret()
	keys := trust.Keyring{Primary: a}
	self, other := identity(t, keys, "aaaa"), identity(t, keys, "bbbb")
	at, made := node(t, other, echo)
	p := New(Config{TLS: self.Client, Address: func(string) (netip.AddrPort, bool) { return at, true }})
	defer p.Close()
	call := func(what string, connections int32) {
		t.Helper()
		answer, err := p.Post(t.Context(), "bbbb", "/", []byte(what), 100)
		if err != nil || string(answer) != what || made.Load() != connections {
			t.Errorf("%s: %q, %v, %d connections; want %d", what, answer, err, made.Load(), connections)
		}
	}
	call("first", 1)
	call("again", 1)
	for i, keys := range []trust.Keyring{{Primary: a, Other: b, Coming: true}, {Primary: b, Other: a}, {Primary: b}} {
		for _, id := range []*trust.Identity{other, self} {
			if err := id.Set(keys); err != nil {
				t.Fatal(err)
			}
		}
		p.Renew()
		call("renewed", int32(i+2))
		call("again", int32(i+2))
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	keys := trust.Keyring{Primary: trust.NewSecret()}
	self := identity(t, keys, "aaaa")
	status, text := http.StatusGone, "{\"error\":\"was\\nremoved\"}"
	at, _ := node(t, identity(t, keys, "bbbb"), func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	})
	p := New(Config{TLS: self.Client, Address: func(string) (netip.AddrPort, bool) { return at, true }})
	defer p.Close()
	_, err := p.Post(t.Context(), "bbbb", "/", nil, 100)
	if !errors.Is(err, ErrRemoved) || !Refused(err) || err.Error() != "node bbbb: was removed" {
		t.Errorf("a removal: %v", err)
	}
	if _, _, err := Ask(t.Context(), at, self.AnyMember(), "/", 100); !errors.Is(err, ErrRemoved) {
		t.Errorf("a removal, asked: %v", err)
	}
	status, text = http.StatusConflict, strings.Repeat("long ", 1000)
	if _, err = p.Post(t.Context(), "bbbb", "/", nil, 100); !Refused(err) || errors.Is(err, ErrRemoved) || len(err.Error()) > 400 {
		t.Errorf("a refusal: %v", err)
	}
	status, text = http.StatusOK, strings.Repeat("x", 101)
	if _, err = p.Post(t.Context(), "bbbb", "/", nil, 100); err == nil || Refused(err) {
		t.Errorf("too long an answer: %v", err)
	}
}

// A stranger's certificate says who it claims to be, and proves nothing.
func TestStrangers(t *testing.T) {
	self := identity(t, trust.Keyring{Primary: trust.NewSecret()}, "aaaa")
	at, _ := node(t, identity(t, trust.Keyring{Primary: trust.NewSecret()}, "bbbb"), echo)
	_, _, err := Ask(t.Context(), at, self.AnyMember(), "/", 100)
	if !errors.Is(err, ErrStranger) || Claimed(err) != "bbbb" || Refused(err) {
		t.Errorf("%v, claimed %q", err, Claimed(err))
	}
	if Claimed(errors.New("anything")) != "" || errors.Is(stranger(io.EOF), ErrStranger) {
		t.Error("any failure is a stranger's")
	}
}
