package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/loop"
	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// fakeNode is a node in memory, whose store is a real one.
type fakeNode struct {
	*Member
	hub       loop.Hub
	platforms []cluster.Platform
	holders   int
	resolved  atomic.Int32 // how many references were looked up
	forgotten []string     // nodes
}

func (n *fakeNode) Version() client.Version { return client.Version{Version: "1"} }
func (n *fakeNode) Init(context.Context, client.Init) (string, error) {
	return "", errors.New("is in one")
}
func (n *fakeNode) Join(context.Context, client.Join) error { return errors.New("is in one") }
func (n *fakeNode) Leave(context.Context) error             { return nil }
func (n *fakeNode) Metrics(w io.Writer)                     { _, _ = io.WriteString(w, "piswarm_services 1\n") }

// lone is a node in no cluster.
type lone struct{ *fakeNode }

func (lone) Member() (*Member, error) { return nil, ErrNoCluster }

type member struct{ *fakeNode }

func (m member) Member() (*Member, error) { return m.fakeNode.Member, nil }

func (n *fakeNode) Load(_ context.Context, r io.Reader) ([]cluster.Image, error) {
	raw, err := io.ReadAll(r)
	if string(raw) == "bad" {
		return nil, errors.New("not an\nimage archive")
	}
	return []cluster.Image{{Name: "web", Digest: "sha256:1"}}, err
}

func (n *fakeNode) Pull(context.Context, string, func(done, total int64)) ([]cluster.Image, error) {
	return []cluster.Image{{Name: "web", Digest: "sha256:1"}}, nil
}

func (n *fakeNode) Resolve(_ context.Context, ref string) (string, string, []cluster.Platform, error) {
	n.resolved.Add(1)
	if ref == "nowhere" {
		return "", "", nil, errors.New("image nowhere: nobody has it")
	}
	if !strings.Contains(ref, "/") {
		ref = "docker.io/library/" + ref + ":latest"
	}
	return ref, "sha256:" + strings.Repeat("a", 64), n.platforms, nil
}

func (n *fakeNode) Tag(_ context.Context, name, target string) error {
	if name == "nowhere" {
		return errors.New("image nowhere is not on this node")
	}
	return nil
}

func (n *fakeNode) Remove(_ context.Context, ref string) error {
	if ref == "used" {
		return errors.New("image used runs here")
	}
	return nil
}

func put(t *testing.T, s *state.Store, key string, value any) {
	t.Helper()
	raw, err := json.Marshal(value)
	if err == nil {
		_, err = s.Put(key, raw)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// fakeMember is the membership of a node, whose members are those.
func fakeMember(n *fakeNode, store *state.Store, members []cluster.Member) *Member {
	reader := view.NewReader(store, func() []cluster.Member { return members }, slog.New(slog.DiscardHandler))
	return &Member{
		Store: store, View: reader.View, Members: n.hub.Subscribe, Images: n, Tasks: newFakeTasks(), Peer: func(string) *http.Client { return http.DefaultClient }, Token: func() string { return "PSWM-1-x-y" },
		Waiting: func() []client.NodeStatus {
			return []client.NodeStatus{{ID: "aaaa2222", Name: "pi2"}, {ID: "bbbb3333", Name: "twin"}, {ID: "cccc5555", Name: "pi1", State: cluster.Waiting}}
		},
		Write: func(context.Context, ...string) (int, int, error) { return n.holders, 3, nil },
		Seal: func(key string, plain []byte) ([]byte, error) {
			if string(plain) == "unsealable" {
				return nil, errors.New("seal: no")
			}
			sealed := []byte("sealed under " + key + ": ")
			for _, b := range plain {
				sealed = append(sealed, ^b)
			}
			return sealed, nil
		},
		Open: func(key string, sealed []byte) ([]byte, error) {
			plain := bytes.TrimPrefix(bytes.Clone(sealed), []byte("sealed under "+key+": "))
			for i := range plain {
				plain[i] = ^plain[i]
			}
			return plain, nil
		},
		Rotate: func(_ context.Context, tell func(string)) (client.Rotation, error) {
			tell("the new token is on pi1")
			return client.Rotation{Token: "PSWM-1-y-z", Nodes: []string{"pi1"}, Missing: []string{"twin"}}, nil
		},
		Invite: func(write bool) (client.DashboardLink, error) {
			return client.DashboardLink{URL: fmt.Sprintf("http://192.168.1.20:7948/#sign-in=%t", write)}, nil
		},
		MetricsToken: func() (string, error) { return "PSWM-metrics-x", nil },
		Forget: func(id string) error {
			n.forgotten = append(n.forgotten, id)
			return nil
		},
	}
}

// start serves a cluster of pi1 (this node, the leader) and pi2, and the service greeters on both.
func start(t *testing.T) (*fakeNode, *httptest.Server) {
	store, err := state.New("aaaa1111", state.Snapshot{})
	if err != nil {
		t.Fatal(err)
	}
	members := []cluster.Member{
		{ID: "aaaa1111", Name: "pi1", Address: netip.MustParseAddr("192.168.1.20"), Condition: cluster.Ready},
		{ID: "aaaa2222", Name: "pi2", Address: netip.MustParseAddr("192.168.1.21"), Condition: cluster.Ready},
		{ID: "bbbb3333", Name: "twin", Condition: cluster.Down}, {ID: "bbbb4444", Name: "twin", Condition: cluster.Down},
	}
	n := &fakeNode{holders: 3}
	n.Member = fakeMember(n, store, members)
	put(t, store, cluster.SettingsKey, cluster.ClusterSettings{Name: "home", Pool: cluster.DefaultPool})
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	put(t, store, cluster.ServiceKey("greeters"), cluster.Service{ID: "s1", CreatedAt: at, UpdatedAt: at, Spec: cluster.Spec{
		Name: "greeters", Mode: cluster.Replicated, Replicas: 2, Container: cluster.Container{Image: "greeter:1"},
		Ports: []cluster.Port{{Published: 9000, Target: 5000, Protocol: cluster.TCP, Mode: cluster.PortIngress}},
	}.WithDefaults()})
	put(t, store, cluster.PlanKey("greeters"), cluster.Plan{ServiceID: "s1", Tasks: []cluster.Task{
		{ID: "t1", Slot: 1, Node: "aaaa1111"}, {ID: "t2", Slot: 2, Reason: "no node has room"},
	}})
	v6 := cluster.Platform{OS: "linux", Arch: "arm", Variant: "v6"}
	put(t, store, cluster.ReportKey("aaaa1111"), cluster.Report{Node: cluster.Description{Platform: v6}, Tasks: []cluster.TaskStatus{
		{ID: "t1", Service: "greeters", ServiceID: "s1", Slot: 1, State: cluster.Running, Address: "10.77.3.2", Since: at},
	}})
	put(t, store, cluster.ReportKey("aaaa2222"), cluster.Report{Node: cluster.Description{Platform: cluster.Platform{OS: "linux", Arch: "arm64"}}})
	put(t, store, cluster.ServiceKey("job"), cluster.Service{ID: "s3", Spec: cluster.Spec{Name: "job", Mode: cluster.ReplicatedJob, Replicas: 3}})
	put(t, store, cluster.ServiceKey("everywhere"), cluster.Service{ID: "s2", Spec: cluster.Spec{Name: "everywhere", Mode: cluster.Global}})
	server := httptest.NewServer(New(member{n}, slog.New(slog.DiscardHandler)).Handler())
	t.Cleanup(server.Close)
	return n, server
}

func call(t *testing.T, url, method, path, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, strings.TrimSpace(string(answer))
}

const create = `{"name":"web","mode":"replicated","replicas":1,"container":{"image":"web"}%s}`

func TestRoutes(t *testing.T) {
	port := func(p string) string { return fmt.Sprintf(create, `,"ports":[{"published":`+p+`,"target":80}]`) }
	for _, test := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/v1/version", "", 200, `"version":"1"`},
		{"GET", "/v1/token", "", 200, `{"token":"PSWM-1-x-y"}`},
		{"GET", "/v1/nothing", "", 404, "no such route: GET /v1/nothing"},
		{"POST", "/v1/status", "", 404, "no such route"},
		{"POST", "/v1/init", "{}", 409, "is in one"},
		{"POST", "/v1/join", "{}", 409, "is in one"},
		{"POST", "/v1/leave", "", 200, `"holders":1`},
		{"POST", "/v1/services", fmt.Sprintf(create, ""), 200, `"holders":3`},
		{"POST", "/v1/services", port("9001"), 200, `"holders":3`},
		{"POST", "/v1/services", port("9000"), 409, "port 9000/tcp is already published by service greeters"},
		{"POST", "/v1/services", port("0"), 400, "port"},
		{"POST", "/v1/services", strings.Replace(fmt.Sprintf(create, ""), `"name":"web"`, `"name":"greeters"`, 1), 409, "service greeters exists already"},
		{"POST", "/v1/services", strings.Replace(fmt.Sprintf(create, ""), `"image":"web"`, `"image":"nowhere"`, 1), 422, "nobody has it"},
		{"POST", "/v1/services", fmt.Sprintf(create, `,"replica":2`), 400, `unknown field \"replica\"`},
		{"POST", "/v1/services", fmt.Sprintf(create, "") + "{}", 400, "goes on after its end"},
		{"POST", "/v1/services", "", 400, "not well formed"},
		{"POST", "/v1/services", `{"name":"` + strings.Repeat("x", maxBody) + `"}`, 400, "too large"},
		{"GET", "/v1/services/greeters", "", 200, `"specVersion"`},
		{"GET", "/v1/services/none", "", 404, "no service named none: `piswarm ls` lists them"},
		{"DELETE", "/v1/services/greeters", "", 200, `"id":"s1"`},
		{"DELETE", "/v1/services/none", "", 404, "no service named none"},
		{"POST", "/v1/services/greeters/scale", `{"replicas":4}`, 200, `"id":"s1"`},
		{"POST", "/v1/services/greeters/scale", `{"replicas":0}`, 200, `"id":"s1"`},
		{"POST", "/v1/services/greeters/scale", `{"replicas":-1}`, 400, "want a number from 0 to 500"},
		{"POST", "/v1/services/greeters/scale", `{"replicas":501}`, 400, "want a number from 0 to 500"},
		{"POST", "/v1/services/none/scale", `{"replicas":4}`, 404, "no service named none"},
		{"POST", "/v1/services/everywhere/scale", `{"replicas":4}`, 400, "cannot be scaled"},
		{"POST", "/v1/services/job/scale", `{"replicas":4}`, 400, "service job is a replicated-job and cannot be scaled"},
		{"PUT", "/v1/services/none", `{}`, 404, "no service named none"},
		{"PUT", "/v1/services/greeters", `{"spec":{"nmae":"x"}}`, 400, "unknown field"},
		{"POST", "/v1/services/greeters/rollback", "", 409, "service greeters: it has no earlier spec"},
		{"POST", "/v1/services/none/rollback", "", 404, "no service named none"},
		{"GET", "/v1/tasks?service=greeters", "", 200, `"state":"running"`},
		{"GET", "/v1/tasks?history=some", "", 400, "history=some: want true or false"},
		{"GET", "/v1/tasks?service=none", "", 404, "no service named none"},
		// Anyone on the LAN can say that it waits: no name of a member means another node for that.
		{"GET", "/v1/waiting", "", 200, `[{"id":"bbbb3333","name":"twin"`},
		{"GET", "/v1/waiting", "", 200, `"id":"cccc5555","name":"pi1","address":"","state":"waiting"`},
		{"GET", "/v1/nodes/cccc5555", "", 404, "no node named cccc5555"},
		{"GET", "/v1/nodes/pi1", "", 200, `"id":"aaaa1111"`},
		{"GET", "/v1/nodes/aaaa2222", "", 200, `"name":"pi2"`},
		{"GET", "/v1/nodes/aaaa2", "", 200, `"name":"pi2"`},
		{"GET", "/v1/nodes/aaa", "", 404, "no node named aaa"},
		{"GET", "/v1/nodes/aaaa", "", 409, "2 nodes go by aaaa: use an ID, one of aaaa1111, aaaa2222"},
		{"GET", "/v1/nodes/twin", "", 409, "2 nodes go by twin: use an ID, one of bbbb3333, bbbb4444"},
		{"PATCH", "/v1/nodes/pi2", `{"availability":"drain"}`, 200, `"id":"aaaa2222"`},
		{"PATCH", "/v1/nodes/pi2", `{"availability":"away"}`, 400, "want active, pause or drain"},
		{"PATCH", "/v1/nodes/pi2", `{"role":"king"}`, 400, "want manager"},
		{"PATCH", "/v1/nodes/pi2", `{}`, 400, "nothing to change"},
		{"PATCH", "/v1/nodes/pi2", `{"labelsRemove":["room"]}`, 400, "node pi2 has no label room"},
		{"PATCH", "/v1/nodes/none", `{"role":"worker"}`, 404, "no node named none"},
		{"DELETE", "/v1/nodes/pi1", "", 409, "node pi1 is the one that was asked: run `piswarm leave` on it"},
		{"DELETE", "/v1/nodes/pi1?force=true", "", 409, "node pi1 is the one that was asked"},
		{"DELETE", "/v1/nodes/pi2", "", 409, "node pi2 is ready: drain it (piswarm node update --availability drain pi2) and run `piswarm leave` on it, or use --force"},
		{"DELETE", "/v1/nodes/pi2?force=true", "", 200, `"id":"aaaa2222"`},
		{"DELETE", "/v1/nodes/bbbb3333", "", 200, `"id":"bbbb3333"`},
		{"DELETE", "/v1/nodes/none", "", 404, "no node named none"},
		{"DELETE", "/v1/images?name=old", "", 200, `"holders":1`},
		{"DELETE", "/v1/images?name=used", "", 409, "runs here"},
		{"DELETE", "/v1/images", "", 400, "name the image"},
		{"POST", "/v1/images/load", "good", 200, `"done":true`},
		{"POST", "/v1/images/load", "bad", 200, `"error":"not an image archive"`},
		{"POST", "/v1/images/pull", `{"image":"web"}`, 200, `"done":true`},
		{"POST", "/v1/images/pull", `{"img":"web"}`, 200, `"error":"the body of the request is not well formed`},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			_, server := start(t)
			status, answer := call(t, server.URL, test.method, test.path, test.body)
			if status != test.status || !strings.Contains(answer, test.want) {
				t.Errorf("%.60s: %d %s\nwant %d … %s", test.body, status, answer, test.status, test.want)
			}
		})
	}
}

func TestInNoCluster(t *testing.T) {
	server := httptest.NewServer(New(lone{&fakeNode{}}, slog.New(slog.DiscardHandler)).Handler())
	defer server.Close()
	for _, route := range []string{"GET /v1/status", "POST /v1/services", "GET /v1/events", "POST /v1/images/load", "GET /v1/token"} {
		method, path, _ := strings.Cut(route, " ")
		if status, answer := call(t, server.URL, method, path, ""); status != 409 || !strings.Contains(answer, "`piswarm init` makes one") {
			t.Errorf("%s: %d %s", route, status, answer)
		}
	}
}

func TestGolden(t *testing.T) {
	_, server := start(t)
	for path, want := range map[string]string{
		"/v1/status": `{"cluster":"home","leader":"pi1","nodes":[` +
			`{"id":"aaaa1111","name":"pi1","address":"192.168.1.20","state":"ready","availability":"active","leader":true,"os":"linux","arch":"arm","variant":"v6","tasks":1,"warnings":[]},` +
			`{"id":"aaaa2222","name":"pi2","address":"192.168.1.21","state":"ready","availability":"active","leader":false,"os":"linux","arch":"arm64","variant":"","tasks":0,"warnings":[]},` +
			`{"id":"bbbb3333","name":"twin","address":"","state":"down","availability":"active","leader":false,"os":"","arch":"","variant":"","tasks":0,"warnings":[]},` +
			`{"id":"bbbb4444","name":"twin","address":"","state":"down","availability":"active","leader":false,"os":"","arch":"","variant":"","tasks":0,"warnings":[]}],` +
			`"services":[{"id":"s2","name":"everywhere","mode":"global","image":"","replicas":{"running":0,"desired":0},"ports":[],"update":{"state":"completed"}},` +
			`{"id":"s1","name":"greeters","mode":"replicated","image":"greeter:1","replicas":{"running":1,"desired":2},"ports":[{"published":9000,"target":5000,"protocol":"tcp","mode":"ingress"}],"update":{"state":"completed"}},` +
			`{"id":"s3","name":"job","mode":"replicated-job","image":"","replicas":{"running":0,"desired":3,"total":3},"ports":[],"update":{"state":"completed"}}]}`,
		"/v1/tasks": `[{"id":"t1","service":"greeters","slot":1,"node":"pi1","nodeId":"aaaa1111","image":"greeter:1","desired":"running","state":"running","address":"10.77.3.2","since":"2026-01-02T03:04:05Z","error":""},` +
			`{"id":"t2","service":"greeters","slot":2,"node":"","image":"greeter:1","desired":"running","state":"pending","address":"","since":"2026-01-02T03:04:05Z","error":"no node has room"}]`,
		"/v1/images": `[]`,
	} {
		if _, got := call(t, server.URL, "GET", path, ""); got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", path, got, want)
		}
	}
}

func TestPlatformThatNobodyHas(t *testing.T) {
	n, server := start(t)
	n.platforms = []cluster.Platform{{OS: "linux", Arch: "amd64"}}
	want := "is built for linux/amd64, and no node of this cluster runs that: they are linux/arm/v6, linux/arm64"
	if status, answer := call(t, server.URL, "POST", "/v1/services", fmt.Sprintf(create, "")); status != 422 || !strings.Contains(answer, want) {
		t.Errorf("%d %s", status, answer)
	}
	n.platforms = append(n.platforms, cluster.Platform{OS: "linux", Arch: "arm", Variant: "v6"})
	if status, answer := call(t, server.URL, "POST", "/v1/services", fmt.Sprintf(create, "")); status != 200 {
		t.Errorf("%d %s", status, answer)
	}
}

func TestWarnsWhenFewHoldIt(t *testing.T) {
	n, server := start(t)
	n.holders = 1
	if _, answer := call(t, server.URL, "DELETE", "/v1/services/greeters", ""); !strings.Contains(answer, `"warning":"only 1 of 3 nodes hold this so far`) {
		t.Error(answer)
	}
}

func TestLabelsComeAndGo(t *testing.T) {
	_, server := start(t)
	for _, step := range []struct{ body, want string }{
		{`{"labelsAdd":{"room":"kitchen","floor":"1"}}`, `"labels":{"floor":"1","room":"kitchen"}`},
		{`{"labelsRemove":["floor"],"availability":"pause"}`, `"labels":{"room":"kitchen"}`},
		{`{"role":"worker"}`, `"availability":"pause"`},
	} {
		call(t, server.URL, "PATCH", "/v1/nodes/pi2", step.body)
		if _, answer := call(t, server.URL, "GET", "/v1/nodes/pi2", ""); !strings.Contains(answer, step.want) {
			t.Errorf("after %s: %s", step.body, answer)
		}
	}
}

// Of many services that want one port at once, one gets it.
func TestOnePortAtOnce(t *testing.T) {
	n, server := start(t)
	look := n.View
	n.View = func() view.View { // so that all of them look before the first one writes
		v := look()
		time.Sleep(5 * time.Millisecond)
		return v
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	count := map[int]int{}
	for i := range 20 {
		wait.Go(func() {
			body := strings.Replace(fmt.Sprintf(create, `,"ports":[{"published":80,"target":80}]`), `"web"`, fmt.Sprintf(`"web%d"`, i), 1)
			status, _ := call(t, server.URL, "POST", "/v1/services", body)
			mu.Lock()
			defer mu.Unlock()
			count[status]++
		})
	}
	wait.Wait()
	if count[200] != 1 || count[409] != 19 {
		t.Errorf("answers: %v", count)
	}
}

func TestEvents(t *testing.T) {
	n, server := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	next := func(want string) {
		t.Helper()
		for lines.Scan() {
			if lines.Text() != "" {
				break
			}
		}
		if lines.Text() != want {
			t.Fatalf("event %q, want %q (%v)", lines.Text(), want, lines.Err())
		}
	}
	next(": listening")
	for key, kind := range map[string]string{"service/x": "service", "plan/x": "plan", "report/x": "report", "cluster/x": "node"} {
		put(t, n.Store, key, struct{}{})
		next(`data: {"kind":"` + kind + `","name":""}`)
	}
	n.hub.Set()
	next(`data: {"kind":"members","name":""}`)
	cancel()
	for lines.Scan() {
		if lines.Text() != "" {
			t.Errorf("goes on with %q", lines.Text())
		}
	}
	server.Close() // returns when the handler has
}

// TestEventsEndWithTheMembership holds that nobody waits for the events of a membership that is over.
func TestEventsEndWithTheMembership(t *testing.T) {
	n, server := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/v1/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	n.Member = nil
	n.hub.Set()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Errorf("the stream goes on: %v", err)
	}
}

// TestMoveIsStillOneReplica: while one task is replaced by another and both run, the service has no more than it wants.
func TestMoveIsStillOneReplica(t *testing.T) {
	v := view.View{
		Members: []cluster.Member{{ID: "a", Condition: cluster.Ready}, {ID: "b", Condition: cluster.Ready}},
		Plans: map[string]cluster.Plan{
			"web": {ServiceID: "s1", Tasks: []cluster.Task{
				{ID: "t1", Slot: 1, Node: "a"}, {ID: "t2", Slot: 1, Node: "b", Replaces: "t1"}, {ID: "t3", Slot: 2, Node: "b"},
			}},
			"log": {ServiceID: "s2", Tasks: []cluster.Task{{ID: "t4", Node: "a"}, {ID: "t5", Node: "b"}}},
		},
		Reports: map[string]cluster.Report{},
	}
	for id, tasks := range map[string][]string{"a": {"t1", "t4"}, "b": {"t2", "t3", "t5"}} {
		var r cluster.Report
		for _, task := range tasks {
			r.Tasks = append(r.Tasks, cluster.TaskStatus{ID: task, State: cluster.Running})
		}
		v.Reports[id] = r
	}
	web := cluster.Service{ID: "s1", Spec: cluster.Spec{Name: "web", Mode: cluster.Replicated, Replicas: 2}}
	log := cluster.Service{ID: "s2", Spec: cluster.Spec{Name: "log", Mode: cluster.Global}}
	for _, s := range []cluster.Service{web, log} {
		if got := service(v, s).Status.Replicas; got.Running != 2 || got.Desired != 2 {
			t.Errorf("%s: %d of %d run, want 2 of 2", s.Spec.Name, got.Running, got.Desired)
		}
	}
}
