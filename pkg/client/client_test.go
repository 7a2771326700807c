package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// serve runs a handler on a unix socket and returns a client of it.
func serve(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "piswarm") // t.TempDir can be too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	c, err := New("unix://" + socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestRoutes holds the method, path and body of every call, and that its answer comes back whole.
func TestRoutes(t *testing.T) {
	type call func(*Client, context.Context) (any, error)
	for _, test := range []struct {
		want   string // METHOD path body
		answer any
		call   call
	}{
		{"GET /v1/status", Status{Cluster: "home", Leader: "pi1", Nodes: []NodeStatus{{ID: "1", Name: "pi1"}}, Services: []ServiceStatus{}}, func(c *Client, ctx context.Context) (any, error) { return c.Status(ctx) }},
		{"GET /v1/version", Version{Version: "v1"}, func(c *Client, ctx context.Context) (any, error) { return c.Version(ctx) }},
		{"GET /v1/services", []ServiceStatus{{Name: "web"}}, func(c *Client, ctx context.Context) (any, error) { return c.Services(ctx) }},
		{"GET /v1/services/web", Service{Status: ServiceStatus{Name: "web"}}, func(c *Client, ctx context.Context) (any, error) { return c.Service(ctx, "web") }},
		{"GET /v1/services/a%2Fb%3Fc", Service{}, func(c *Client, ctx context.Context) (any, error) { return c.Service(ctx, "a/b?c") }},
		{`POST /v1/services {"name":"web","mode":"global","replicas":0,"container":{"image":"","digest":""},"resources":{"limits":{},"reservations":{}},"placement":{"strategy":""}}`, Written{ID: "1", Holders: 3}, func(c *Client, ctx context.Context) (any, error) {
			return c.CreateService(ctx, cluster.Spec{Name: "web", Mode: cluster.Global})
		}},
		{"DELETE /v1/services/web", Written{Warning: "one node"}, func(c *Client, ctx context.Context) (any, error) { return c.RemoveService(ctx, "web") }},
		{`POST /v1/services/web/scale {"replicas":0}`, Written{Holders: 1}, func(c *Client, ctx context.Context) (any, error) { return c.ScaleService(ctx, "web", 0) }},
		{`PUT /v1/services/web {"spec":{"name":"web","mode":"global","replicas":0,"container":{"image":"","digest":""},"resources":{"limits":{},"reservations":{}},"placement":{"strategy":""}},"version":"7@pi1"}`, Written{ID: "1"}, func(c *Client, ctx context.Context) (any, error) {
			return c.UpdateService(ctx, "web", ServiceUpdate{Spec: cluster.Spec{Name: "web", Mode: cluster.Global}, Version: "7@pi1"})
		}},
		{"POST /v1/services/web/rollback", Written{ID: "1"}, func(c *Client, ctx context.Context) (any, error) { return c.RollbackService(ctx, "web") }},
		{"GET /v1/tasks?history=true", []Task{}, func(c *Client, ctx context.Context) (any, error) { return c.TaskHistory(ctx, "") }},
		{"GET /v1/tasks?history=true&service=web", []Task{}, func(c *Client, ctx context.Context) (any, error) { return c.TaskHistory(ctx, "web") }},
		{"DELETE /v1/nodes/pi1", Written{ID: "1"}, func(c *Client, ctx context.Context) (any, error) { return c.RemoveNode(ctx, "pi1", false) }},
		{"DELETE /v1/nodes/pi1?force=true", Written{ID: "1"}, func(c *Client, ctx context.Context) (any, error) { return c.RemoveNode(ctx, "pi1", true) }},
		{"GET /v1/tasks", []Task{{ID: "1", Since: time.Unix(1, 0).UTC()}}, func(c *Client, ctx context.Context) (any, error) { return c.Tasks(ctx, "") }},
		{"GET /v1/tasks?service=web+1", []Task{}, func(c *Client, ctx context.Context) (any, error) { return c.Tasks(ctx, "web 1") }},
		{"GET /v1/nodes", []NodeStatus{{Warnings: []string{"hot"}}}, func(c *Client, ctx context.Context) (any, error) { return c.Nodes(ctx) }},
		{"GET /v1/nodes/pi1", Node{Role: cluster.Worker}, func(c *Client, ctx context.Context) (any, error) { return c.Node(ctx, "pi1") }},
		{`PATCH /v1/nodes/pi1 {"availability":"drain"}`, Written{Holders: 2}, func(c *Client, ctx context.Context) (any, error) {
			return c.UpdateNode(ctx, "pi1", NodeUpdate{Availability: cluster.Drain})
		}},
		{"GET /v1/images", []Image{{Name: "greeter"}}, func(c *Client, ctx context.Context) (any, error) { return c.Images(ctx) }},
		{"DELETE /v1/images?name=a%2Fb%3A1", Written{Holders: 2}, func(c *Client, ctx context.Context) (any, error) { return c.RemoveImage(ctx, "a/b:1") }},
		{`POST /v1/init {"name":"home","pool":"10.77.0.0/16"}`, Token{Token: "t"}, func(c *Client, ctx context.Context) (any, error) {
			return c.Init(ctx, Init{Name: "home", Pool: "10.77.0.0/16"})
		}},
		{`POST /v1/join {"token":"t","addresses":["a"]}`, Written{Holders: 1}, func(c *Client, ctx context.Context) (any, error) {
			return c.Join(ctx, Join{Token: "t", Addresses: []string{"a"}})
		}},
		{"POST /v1/leave", Written{Holders: 1}, func(c *Client, ctx context.Context) (any, error) { return c.Leave(ctx) }},
		{"GET /v1/secrets", []File{{Head: cluster.Head{Name: "db"}, Services: []string{"web"}}}, func(c *Client, ctx context.Context) (any, error) { return c.Secrets(ctx) }},
		{"GET /v1/secrets/db", File{Head: cluster.Head{Name: "db"}}, func(c *Client, ctx context.Context) (any, error) { return c.Secret(ctx, "db") }},
		{`POST /v1/secrets {"name":"db","data":"aHVzaA=="}`, Written{ID: "1"}, func(c *Client, ctx context.Context) (any, error) {
			return c.CreateSecret(ctx, FileCreate{Name: "db", Data: []byte("hush")})
		}},
		{"DELETE /v1/secrets/db", Written{ID: "1"}, func(c *Client, ctx context.Context) (any, error) { return c.RemoveSecret(ctx, "db") }},
		{"GET /v1/configs", []File{}, func(c *Client, ctx context.Context) (any, error) { return c.Configs(ctx) }},
		{"GET /v1/configs/app", Config{Data: []byte("on")}, func(c *Client, ctx context.Context) (any, error) { return c.Config(ctx, "app") }},
		{`POST /v1/configs {"name":"app","labels":{"a":"b"},"data":"b24="}`, Written{ID: "1"}, func(c *Client, ctx context.Context) (any, error) {
			return c.CreateConfig(ctx, FileCreate{Name: "app", Labels: map[string]string{"a": "b"}, Data: []byte("on")})
		}},
		{"DELETE /v1/configs/app", Written{ID: "1"}, func(c *Client, ctx context.Context) (any, error) { return c.RemoveConfig(ctx, "app") }},
		{"GET /v1/token", Token{Token: "t"}, func(c *Client, ctx context.Context) (any, error) { return c.Token(ctx) }},
	} {
		t.Run(test.want, func(t *testing.T) {
			var got string
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got = strings.TrimSpace(r.Method + " " + r.URL.RequestURI() + " " + string(body))
				if len(body) > 0 && r.Header.Get("Content-Type") != "application/json" {
					t.Errorf("content type %q", r.Header.Get("Content-Type"))
				}
				json.NewEncoder(w).Encode(test.answer)
			})
			answer, err := test.call(c, t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got != test.want {
				t.Errorf("asked %s\nwant  %s", got, test.want)
			}
			if !reflect.DeepEqual(answer, test.answer) {
				t.Errorf("answer %+v\nwant   %+v", answer, test.answer)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	for _, test := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"the agent's own", `{"error":"no service \"web\": see piswarm ls"}`, 404, `no service "web": see piswarm ls`},
		{"of something else", "<html>\nsorry", 502, "the agent answered 502 Bad Gateway: <html>"},
		{"empty", "", 500, "the agent answered 500 Internal Server Error"},
		{"endless", `{"error":"` + strings.Repeat("x", 1<<20) + `"}`, 500, ""},
		{"a redirect", "", 307, "the agent answered 307 Temporary Redirect"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Location", "/v1/services")
				w.WriteHeader(test.status)
				io.WriteString(w, test.body)
			})
			_, err := c.Service(t.Context(), "web")
			var e *Error
			if !errors.As(err, &e) || e.Status != test.status {
				t.Fatalf("got %v", err)
			}
			if test.want != "" && err.Error() != test.want || len(err.Error()) > maxProblem+100 {
				t.Errorf("got %q, want %q", err, test.want)
			}
		})
	}
}

func TestNamesThatAreNone(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { t.Errorf("asked %s", r.URL) })
	for _, name := range []string{"", ".", ".."} {
		var e *Error
		if _, err := c.RemoveService(t.Context(), name); !errors.As(err, &e) || e.Status != http.StatusNotFound {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for name, body := range map[string]string{
		"no JSON":    "hello",
		"cut short":  `[{"name":"we`,
		"other JSON": `{"name":"web"}`,
		"too long":   "[]" + strings.Repeat(" ", maxAnswer),
	} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) })
		if got, err := c.Services(t.Context()); err == nil {
			t.Errorf("%s: got %v and no error", name, got)
		}
	}
}

func TestNoAgent(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	stale := filepath.Join(dir, "stale")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale})
	if err != nil {
		t.Fatal(err)
	}
	listener.SetUnlinkOnClose(false)
	listener.Close()
	for _, socket := range []string{missing, stale} {
		c, err := New("unix://" + socket)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Status(t.Context())
		want := "no piswarm agent answers on " + socket + ": is it running? systemctl status piswarm"
		var connect *ConnectError
		if !errors.As(err, &connect) || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
	// Root is never denied, so the error stands in for the kernel.
	denied := &ConnectError{Socket: "/run/piswarm/piswarm.sock", Err: &net.OpError{Op: "dial", Err: &os.SyscallError{Syscall: "connect", Err: fs.ErrPermission}}}
	want := "permission denied on /run/piswarm/piswarm.sock: you are not in group piswarm: sudo usermod -aG piswarm $USER, then log in again, or use sudo"
	if denied.Error() != want {
		t.Errorf("got %v\nwant %s", denied, want)
	}
}

func TestHosts(t *testing.T) {
	for host, ok := range map[string]bool{
		"":                    true,
		"unix:///run/x.sock":  true,
		"unix://run/x.sock":   false,
		"unix://":             false,
		"/run/x.sock":         false,
		"ssh://pi@pi1":        false,
		"tcp://127.0.0.1:123": false,
	} {
		if _, err := New(host); (err == nil) != ok {
			t.Errorf("%q: got %v", host, err)
		}
	}
}

func TestCancelled(t *testing.T) {
	asked := make(chan struct{})
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := c.Status(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestImageStreams(t *testing.T) {
	images := []cluster.Image{{Name: "greeter"}}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		enc := json.NewEncoder(w)
		enc.Encode(Progress{Message: fmt.Sprintf("%s %s %d", r.URL.Path, r.Header.Get("Content-Type"), n)})
		enc.Encode(Progress{Images: images, Done: true})
	})
	var steps []string
	progress := func(p Progress) { steps = append(steps, p.Message) }
	got, err := c.LoadImages(t.Context(), strings.NewReader("12345"), progress)
	if err != nil || !reflect.DeepEqual(got, images) {
		t.Errorf("load: got %v, %v", got, err)
	}
	if got, err := c.PullImage(t.Context(), "greeter", progress); err != nil || !reflect.DeepEqual(got, images) {
		t.Errorf("pull: got %v, %v", got, err)
	}
	if want := []string{"/v1/images/load application/x-tar 5", "/v1/images/pull application/json 19"}; !reflect.DeepEqual(steps, want) {
		t.Errorf("got %q, want %q", steps, want)
	}
}

func TestImageStreamsThatFail(t *testing.T) {
	for body, want := range map[string]string{
		`{"message":"a"}` + "\n" + `{"error":"no space on pi1"}`: "no space on pi1",
		`{"message":"a"}` + "\n":                                 "the agent broke off: unexpected EOF",
		`{"message":"` + strings.Repeat("a", maxLine) + `"}`:     "the agent broke off: the agent sent a line longer than 1 MB",
		"hello\n": "the agent's answer to POST /v1/images/pull is not what this version of piswarm understands: invalid character 'h' looking for beginning of value",
	} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) })
		if _, err := c.PullImage(t.Context(), "greeter", nil); err == nil || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

func TestEvents(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, ": keep-alive\n\nid: 7\ndata: {\"kind\":\"service\",\ndata: \"name\":\"web\"}\n\n: keep-alive\n\ndata:{\"kind\":\"members\",\"name\":\"\"}\n\n")
	})
	events, err := c.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	for _, want := range []Event{{Kind: "service", Name: "web"}, {Kind: "members"}} {
		if got, err := events.Next(); err != nil || got != want {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
	}
	if _, err := events.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("at the end: got %v", err)
	}
}

func TestEventsAreBounded(t *testing.T) {
	line := "data: " + strings.Repeat("x", maxLine/2) + "\n"
	for name, body := range map[string]string{
		"a long line": "data: " + strings.Repeat("x", maxLine),
		"many lines":  strings.Repeat(line, 3),
	} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) })
		events, err := c.Events(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := events.Next(); err == nil || !strings.Contains(err.Error(), "longer than 1 MB") {
			t.Errorf("%s: got %v", name, err)
		}
		events.Close()
	}
}

func TestClosingEndsAWait(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	events, err := c.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, err := events.Next()
		ended <- err
	}()
	events.Close()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("Next returned an event")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Next waits on")
	}
}

func TestSilenceEndsAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, silence, stop := limitSilence(t.Context(), 45*time.Second)
		defer stop()
		for range 3 {
			time.Sleep(44 * time.Second)
			if _, err := silence.reader(strings.NewReader("x")).Read(make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		if ctx.Err() != nil {
			t.Fatalf("ended while something was heard: %v", context.Cause(ctx))
		}
		time.Sleep(45*time.Second + 1)
		if err := lineError(ctx, nil); err.Error() != "nothing heard from the agent for 45s" {
			t.Errorf("got %v", err)
		}
	})
}

// TestStatusJSON holds the names and the order that the design shows.
func TestStatusJSON(t *testing.T) {
	status := Status{
		Cluster: "home", Leader: "pi1",
		Nodes: []NodeStatus{{ID: "n", Name: "pi1", Address: "192.168.1.20", State: cluster.Ready, Availability: cluster.Active, Leader: true, OS: "linux", Arch: "arm", Variant: "v6", Tasks: 2, Warnings: []string{}}},
		Services: []ServiceStatus{{ID: "s", Name: "greeters", Mode: cluster.Replicated, Image: "i", Replicas: ReplicaCount{Running: 2, Desired: 2},
			Ports: []cluster.Port{{Published: 9000, Target: 5000, Protocol: cluster.TCP, Mode: cluster.PortIngress}}, Update: UpdateStatus{State: cluster.UpdateCompleted}}},
	}
	want := `{"cluster":"home","leader":"pi1","nodes":[{"id":"n","name":"pi1","address":"192.168.1.20","state":"ready",` +
		`"availability":"active","leader":true,"os":"linux","arch":"arm","variant":"v6","tasks":2,"warnings":[]}],` +
		`"services":[{"id":"s","name":"greeters","mode":"replicated","image":"i","replicas":{"running":2,"desired":2},` +
		`"ports":[{"published":9000,"target":5000,"protocol":"tcp","mode":"ingress"}],"update":{"state":"completed"}}]}`
	if got, err := json.Marshal(status); err != nil || string(got) != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
	task := Task{ID: "t", Service: "greeters", Slot: 1, Node: "pi1", Image: "i", Desired: cluster.Running, State: cluster.Running, Address: "10.77.3.2"}
	want = `{"id":"t","service":"greeters","slot":1,"node":"pi1","image":"i","desired":"running","state":"running","address":"10.77.3.2","since":"0001-01-01T00:00:00Z","error":""}`
	if got, err := json.Marshal(task); err != nil || string(got) != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
}
