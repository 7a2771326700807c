package api

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// FuzzBodies sends a body to a route that takes one, of which there is a number. Whatever is refused changes nothing and is
// refused in one line.
func FuzzBodies(f *testing.F) {
	var routes []route
	for _, row := range New(nil, nil).routes(Offer{}) {
		if row.callers&people != 0 && row.method != "GET" && row.method != "DELETE" {
			routes = append(routes, row)
		}
	}
	seed := func(raw []byte) {
		for i := range routes {
			f.Add(uint8(i), raw)
		}
	}
	for _, body := range []any{
		client.Init{Name: "home", Pool: cluster.DefaultPool}, client.Join{}, client.NodeUpdate{Role: cluster.Worker, LabelsAdd: map[string]string{"a": "b"}},
		client.ImagePull{Image: "web"}, client.ServiceUpdate{Spec: cluster.Spec{Name: "web"}, Version: "1@aaaa1111"},
		cluster.Spec{Name: "web", Replicas: 2, Container: cluster.Container{Image: "web"}}, client.Scale{Replicas: 3},
		client.FileCreate{Name: "db", Labels: map[string]string{"a": "b"}, Data: []byte("value")},
		cluster.Spec{Name: "api", Replicas: 2, Container: cluster.Container{Image: "web", Secrets: []cluster.FileRef{{Name: "db"}}}},
	} {
		raw, err := json.Marshal(body)
		if err != nil {
			f.Fatal(err)
		}
		seed(raw)
	}
	seed([]byte(`{"replicas":3}{"replicas":4}`))
	seed([]byte(strings.Repeat("[", 20000)))
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		row := routes[int(which)%len(routes)]
		n := little(t)
		before := n.Store.Digest()
		w := duplex{httptest.NewRecorder()}
		r := httptest.NewRequest(row.method, strings.ReplaceAll(row.pattern, "{name}", "web"), bytes.NewReader(body))
		New(member{n}, slog.New(slog.DiscardHandler)).Handler().ServeHTTP(w, r)
		switch {
		case w.Code >= 500:
			t.Fatalf("%s %s %q: %d %s", row.method, row.pattern, body, w.Code, w.Body)
		case w.Code >= 400:
			if n.Store.Digest() != before {
				t.Fatalf("%s %s %q: %d %s, and yet something changed", row.method, row.pattern, body, w.Code, w.Body)
			}
			var p client.Problem
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Error == "" || strings.ContainsAny(p.Error, "\r\n") {
				t.Fatalf("%s %s %q: %d %s", row.method, row.pattern, body, w.Code, w.Body)
			}
		}
	})
}

// duplex is a recorder that may be written to while the body is read.
type duplex struct{ *httptest.ResponseRecorder }

func (duplex) EnableFullDuplex() error { return nil }

// little is a cluster of one node that is made in no time, with one service, web.
func little(t *testing.T) *fakeNode {
	store, err := state.New("aaaa1111", state.Snapshot{})
	if err != nil {
		t.Fatal(err)
	}
	n := &fakeNode{}
	put(t, store, cluster.ServiceKey("web"), cluster.Service{ID: "s1", Spec: cluster.Spec{Name: "web", Mode: cluster.Replicated, Replicas: 2}.WithDefaults()})
	n.Member = fakeMember(n, store, []cluster.Member{{ID: "aaaa1111", Name: "web", Condition: cluster.Ready}})
	return n
}
