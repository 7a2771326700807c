package worker

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

func TestAskByTheRealNetwork(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !r.Close {
			t.Errorf("%s: the connection is to be kept", r.URL)
		}
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/bad", http.StatusFound)
		case "/bad":
			http.Error(w, strings.Repeat("bad\n", 10000), http.StatusInternalServerError)
		case "/hang":
			<-hang
		case "/query":
			if r.URL.RawQuery != "deep=1" || r.Method != http.MethodGet {
				http.Error(w, r.URL.String(), http.StatusBadRequest)
			}
		}
	}))
	defer server.Close()
	defer close(hang)
	address := netip.MustParseAddrPort(server.Listener.Addr().String())
	closed := httptest.NewServer(nil)
	nobody := netip.MustParseAddrPort(closed.Listener.Addr().String())
	closed.Close()
	w := New(Config{})
	for _, test := range []struct {
		health  cluster.Health
		address netip.AddrPort
		failure string // part of it; empty: healthy
	}{
		{cluster.Health{HTTP: "/"}, address, ""},
		{cluster.Health{HTTP: "/"}, address, ""},
		{cluster.Health{HTTP: "/moved"}, address, ""},
		{cluster.Health{HTTP: "/query?deep=1"}, address, ""},
		{cluster.Health{HTTP: "/bad"}, address, "answer 500 Internal Server Error: bad bad bad"},
		{cluster.Health{HTTP: "/hang"}, address, "no answer within 200ms"},
		{cluster.Health{HTTP: "/"}, nobody, "connection refused"},
		{cluster.Health{TCP: true}, address, ""},
		{cluster.Health{TCP: true}, nobody, "connection refused"},
	} {
		test.health.Timeout = 5 * time.Second
		if test.health.HTTP == "/hang" {
			test.health.Timeout = 200 * time.Millisecond
		}
		failure, err := w.ask(t.Context(), question{Health: test.health, address: test.address})
		if err != nil || (failure == "") != (test.failure == "") || !strings.Contains(failure, test.failure) || len(failure) > maxReason {
			t.Errorf("%+v: %q, %v; want %q", test.health, failure, err, test.failure)
		}
	}
}
