package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/rotation"
	"github.com/piswarm/piswarm/agent/internal/trust"
	piswarm "github.com/piswarm/piswarm/pkg/client"
)

// allowed is who may call what, beside the table that the program goes by: a new route is thought about twice.
var allowed = map[string]callers{
	"GET /v1/version":                   people,
	"POST /v1/init":                     people,
	"POST /v1/join":                     people,
	"POST /v1/leave":                    people,
	"GET /v1/token":                     people,
	"POST /v1/token/rotate":             people,
	"GET /v1/status":                    people,
	"GET /v1/services":                  people,
	"POST /v1/services":                 people,
	"GET /v1/services/{name}":           people,
	"PUT /v1/services/{name}":           people,
	"DELETE /v1/services/{name}":        people,
	"POST /v1/services/{name}/scale":    people,
	"POST /v1/services/{name}/rollback": people,
	"GET /v1/tasks":                     people,
	"GET /v1/tasks/{task}":              people,
	"POST /v1/tasks/{task}/stop":        people,
	"POST /v1/tasks/{task}/kill":        people,
	"GET /v1/tasks/{task}/stats":        people,
	"POST /v1/tasks/{task}/exec":        people,
	"GET /v1/logs":                      people,
	"GET /v1/stats":                     people,
	"GET /v1/nodes":                     people,
	"GET /v1/waiting":                   people,
	"GET /v1/nodes/{name}":              people,
	"PATCH /v1/nodes/{name}":            people,
	"DELETE /v1/nodes/{name}":           people,
	"GET /v1/nodes/{name}/upgrade":      people,
	"POST /v1/nodes/{name}/upgrade":     people,
	"GET /v1/images":                    people,
	"DELETE /v1/images":                 people,
	"POST /v1/images/load":              people,
	"POST /v1/images/pull":              people,
	"GET /v1/secrets":                   people,
	"POST /v1/secrets":                  people,
	"GET /v1/secrets/{name}":            people,
	"DELETE /v1/secrets/{name}":         people,
	"GET /v1/configs":                   people,
	"POST /v1/configs":                  people,
	"GET /v1/configs/{name}":            people,
	"DELETE /v1/configs/{name}":         people,
	"GET /v1/images/resolve":            people,
	"POST /v1/images/tag":               people,
	"PUT /v1/secrets/{name}":            people,
	"PUT /v1/configs/{name}":            people,
	"GET /v1/networks":                  people,
	"POST /v1/networks":                 people,
	"GET /v1/networks/{name}":           people,
	"DELETE /v1/networks/{name}":        people,
	"GET /v1/events":                    people,
	"POST /v1/dashboard":                people,
	"GET /v1/token/metrics":             people,
	"GET /metrics":                      people,
	"POST /node/v1/state":               members,
	"POST /node/v1/rotation":            members,
	"GET /node/v1/secret":               members,
	"GET /node/v1/upgrade":              members,
	"POST /node/v1/upgrade":             members,
	"GET /node/v1/age":                  members,
	"POST /node/v1/tasks/{task}/stop":   members,
	"POST /node/v1/tasks/{task}/kill":   members,
	"GET /node/v1/tasks/{task}/stats":   members,
	"POST /node/v1/tasks/{task}/exec":   members,
	"POST /node/v1/logs":                members,
	"GET /node/v1/stats":                members,
	"GET /v2/":                          members,
}

// doors are the two ways into a node of which every part is real but the node.
type doors struct {
	node            *fakeNode
	socket, shelf   string       // URLs
	person, peer    *http.Client // as they should be
	alien, nameless *http.Client // of another cluster; with no certificate at all
}

func openDoors(t *testing.T) doors {
	n, socket := start(t)
	secret := trust.NewSecret()
	client := func(s trust.Secret, id string, change func(*tls.Config)) *http.Client {
		self, err := trust.NewIdentity(trust.Keyring{Primary: s}, id)
		if err != nil {
			t.Fatal(err)
		}
		config := self.Client("aaaa1111")
		change(config)
		transport := &http.Transport{TLSClientConfig: config}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	// A stranger does not mind whom it talks to.
	careless := func(c *tls.Config) { c.InsecureSkipVerify = true }
	server, err := trust.NewIdentity(trust.Keyring{Primary: secret}, "aaaa1111")
	if err != nil {
		t.Fatal(err)
	}
	shelf := httptest.NewUnstartedServer(New(member{n}, slog.New(slog.DiscardHandler)).NodeHandler(Offer{
		Exchange:  func(from string, message []byte) ([]byte, error) { return append([]byte(from+" "), message...), nil },
		Rotate:    func(string, rotation.Step) (rotation.State, error) { return rotation.State{}, errors.New("not now") },
		Secret:    func() rotation.State { return rotation.State{Primary: secret.ClusterID()} },
		Installed: func(context.Context) (piswarm.Upgrade, error) { return piswarm.Upgrade{Version: "1"}, nil },
		Install: func(_ context.Context, _ piswarm.UpgradeFile, body io.Reader) error {
			_, err := io.Copy(io.Discard, body)
			return err
		},
		Images: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }),
		Age:    func() time.Duration { return time.Second },
	}))
	shelf.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	shelf.Listener = tls.NewListener(shelf.Listener, server.Server())
	shelf.Start()
	t.Cleanup(shelf.Close)
	return doors{
		node: n, socket: socket.URL, shelf: "https" + strings.TrimPrefix(shelf.URL, "http"), person: http.DefaultClient,
		peer:  client(secret, "aaaa2222", func(*tls.Config) {}),
		alien: client(trust.NewSecret(), "aaaa2222", careless),
		nameless: client(secret, "aaaa2222", func(c *tls.Config) {
			careless(c)
			c.Certificates = nil
		}),
	}
}

// ask calls a route and returns the status and the beginning of the answer, of which a stream has no end.
func ask(t *testing.T, c *http.Client, url, route string) (int, string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	method, path, _ := strings.Cut(route, " ")
	path = strings.ReplaceAll(path, "{name}", "greeters")
	request, err := http.NewRequestWithContext(ctx, method, url+path, strings.NewReader(`{"replicas":7}`))
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	answer := make([]byte, 500)
	n, _ := response.Body.Read(answer) // what was refused is read as a whole: it is short
	return response.StatusCode, string(answer[:n]), nil
}

// TestWhoMayCallWhat calls every route as everyone.
func TestWhoMayCallWhat(t *testing.T) {
	rows := map[string]bool{}
	for _, row := range New(nil, nil).routes(Offer{}) {
		name := row.method + " " + row.pattern
		rows[name] = true
		if want, ok := allowed[name]; !ok {
			t.Errorf("%s is new: say here who may call it", name)
		} else if row.callers != want {
			t.Errorf("%s: the table says %b, want %b", name, row.callers, want)
		}
	}
	for name, who := range allowed {
		if !rows[name] {
			t.Errorf("%s is gone", name)
			continue
		}
		d := openDoors(t)
		before := d.node.Store.Digest()
		for _, caller := range []struct {
			who    callers
			client *http.Client
			url    string
		}{{people, d.person, d.socket}, {members, d.peer, d.shelf}} {
			if who&caller.who != 0 {
				continue
			}
			status, answer, err := ask(t, caller.client, caller.url, name)
			if err != nil || status != http.StatusForbidden || strings.Count(answer, "\n") != 1 || !strings.Contains(answer, " is for the ") {
				t.Errorf("%s by the wrong door: %d %q, %v", name, status, answer, err)
			}
		}
		for stranger, c := range map[string]*http.Client{"another cluster's node": d.alien, "a client without a certificate": d.nameless} {
			if status, answer, err := ask(t, c, d.shelf, name); err == nil || !isRefusedByTLS(err) {
				t.Errorf("%s as %s: %d %q, %v", name, stranger, status, answer, err)
			}
		}
		if d.node.Store.Digest() != before || len(d.node.forgotten) != 0 {
			t.Errorf("%s: one who may not call it has changed something", name)
		}
		for _, caller := range []struct {
			who    callers
			client *http.Client
			url    string
		}{{people, d.person, d.socket}, {members, d.peer, d.shelf}} {
			if who&caller.who == 0 {
				continue
			}
			status, answer, err := ask(t, caller.client, caller.url, name)
			if err != nil || status == http.StatusForbidden || strings.Contains(answer, "no such route") {
				t.Errorf("%s by its door: %d %q, %v", name, status, answer, err)
			}
		}
	}
}

// isRefusedByTLS: the server said so, or had hung up before it could be heard.
func isRefusedByTLS(err error) bool {
	var alert tls.AlertError
	var dropped *net.OpError
	return errors.As(err, &alert) || errors.As(err, &dropped) || errors.Is(err, net.ErrClosed)
}

// TestMembersOnlyRead: of the images, members get what GET and HEAD give.
func TestMembersOnlyRead(t *testing.T) {
	d := openDoors(t)
	for route, want := range map[string]int{
		"GET /v2/": 200, "HEAD /v2/greeter/blobs/x": 200, "POST /v2/greeter/blobs/uploads/": 404, "DELETE /v2/greeter/manifests/x": 404,
		"GET /node/v1/state": 404, "PUT /node/v1/age": 404, "GET /v1/secrets": 403, "GET /": 404,
	} {
		if status, answer, err := ask(t, d.peer, d.shelf, route); err != nil || status != want {
			t.Errorf("%s: %d %q, %v; want %d", route, status, answer, err, want)
		}
	}
}

// TestMembersAreKnownByTheirCertificate also where a listener would take anyone.
func TestMembersAreKnownByTheirCertificate(t *testing.T) {
	n, _ := start(t)
	reached := false
	h := New(member{n}, slog.New(slog.DiscardHandler)).NodeHandler(Offer{Exchange: func(string, []byte) ([]byte, error) {
		reached = true
		return nil, nil
	}})
	for _, state := range []*tls.ConnectionState{nil, {}} {
		w, r := httptest.NewRecorder(), httptest.NewRequest("POST", ExchangePath, bytes.NewReader(nil))
		r.TLS = state
		if h.ServeHTTP(w, r); w.Code != http.StatusForbidden || reached {
			t.Errorf("answered %d, reached %v", w.Code, reached)
		}
	}
}

// TestFormerMembersAreRefused: a removed node, and a connection that was made with a secret of before.
func TestFormerMembersAreRefused(t *testing.T) {
	n, _ := start(t)
	reached := false
	removed, current := "", true
	h := New(member{n}, slog.New(slog.DiscardHandler)).NodeHandler(Offer{
		Secret:  func() rotation.State { reached = true; return rotation.State{Primary: "abcd"} },
		Removed: func(id string) bool { return id == removed },
		Current: func(*tls.ConnectionState) bool { return current },
	})
	secret := trust.Keyring{Primary: trust.NewSecret()}
	self, err := trust.NewIdentity(secret, "aaaa2222")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(self.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		removed string
		current bool
		want    int
	}{{"", true, 200}, {"aaaa2222", true, http.StatusGone}, {"", false, http.StatusForbidden}, {"aaaa1111", true, 200}} {
		removed, current, reached = test.removed, test.current, false
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", SecretPath, nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}
		if h.ServeHTTP(w, r); w.Code != test.want || reached != (test.want == 200) {
			t.Errorf("%+v: answered %d %s", test, w.Code, w.Body)
		}
		if test.want == http.StatusForbidden && w.Header().Get("Connection") != "close" {
			t.Error("the old connection stays open")
		}
	}
}

// TestRotationSteps: what a member may send is bounded and well formed, and comes as it is from the one who sent it.
func TestRotationSteps(t *testing.T) {
	d := openDoors(t)
	for body, want := range map[string]int{
		`{"do":"hold"}`: 409, `{"do":"hold","x":1}`: 400, `{`: 400, `{"do":"` + strings.Repeat("x", MaxStep) + `"}`: 400,
	} {
		response, err := d.peer.Post(d.shelf+RotationPath, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%.40s: %d, want %d", body, response.StatusCode, want)
		}
	}
}

// TestRotateTellsHowFarItIs and ends with the token.
func TestRotateTellsHowFarItIs(t *testing.T) {
	_, server := start(t)
	status, answer := call(t, server.URL, "POST", "/v1/token/rotate", "")
	if status != 200 || !strings.HasPrefix(answer, `{"message":"the new token is on pi1"}`) || !strings.Contains(answer, `"token":"PSWM-1-y-z"`) || !strings.Contains(answer, `"done":true`) {
		t.Errorf("%d %s", status, answer)
	}
}
