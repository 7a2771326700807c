package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// fakeAgent answers the API out of memory on a unix socket. It decides nothing: a write is noted and handed to the
// test, which says what the cluster makes of it.
type fakeAgent struct {
	host string

	mu       sync.Mutex
	cluster  string
	leader   string
	services []client.Service
	tasks    []client.Task
	past     []client.Task // told only to who asks for history
	nodes    []client.Node
	waiting  []client.NodeStatus
	images   []client.Image
	secrets  []client.File
	configs  []client.Config
	written  client.Written
	requests []string // "METHOD path body", in order, without reads of events
	onWrite  func(request string)
	watchers []chan client.Event
	refuse   map[string]string // by "METHOD path": the problem to answer with, status 400
	overtake int               // so many updates are refused because someone else was quicker
	conflict bool              // updates are refused because of something else that exists
	events   bool              // false: the stream of events is refused
	progress []client.Progress // of image load and pull
	networks []client.Network
	readings int // of what nodes use
}

func newFakeAgent(t *testing.T) *fakeAgent {
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
	f := &fakeAgent{host: "unix://" + socket, cluster: "home", leader: "pi1", events: true, written: client.Written{ID: "svc1id", Holders: 3}, refuse: map[string]string{}}
	server := httptest.NewUnstartedServer(f.handler())
	server.Listener = listener
	server.Start()
	t.Cleanup(func() {
		f.closeWatchers()
		server.CloseClientConnections()
		server.Close()
	})
	return f
}

func (f *fakeAgent) handler() http.Handler {
	mux := http.NewServeMux()
	read := func(pattern string, get func(r *http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { f.answer(w, r, http.StatusOK, get) })
	}
	read("GET /v1/version", func(*http.Request) (any, error) {
		return client.Version{Version: "v1.2.3", Commit: "0123456789abcdef", Go: "go1.26", OS: "linux", Arch: "arm", Node: "pi1", NodeID: "node1-0123456789abcdef", ClusterID: "homehome"}, nil
	})
	read("GET /v1/status", func(*http.Request) (any, error) {
		return client.Status{Cluster: f.cluster, Leader: f.leader, Nodes: f.nodeList(), Services: f.serviceList()}, nil
	})
	read("GET /v1/services", func(r *http.Request) (any, error) {
		if r.URL.Query().Get("detail") == "true" {
			return f.services, nil
		}
		return f.serviceList(), nil
	})
	read("GET /v1/services/{name}", func(r *http.Request) (any, error) { return f.service(r.PathValue("name")) })
	read("GET /v1/tasks", func(r *http.Request) (any, error) {
		tasks := []client.Task{}
		all := slices.Clone(f.tasks)
		if r.URL.Query().Get("history") == "true" {
			all = append(all, f.past...)
			slices.SortStableFunc(all, func(a, b client.Task) int { return strings.Compare(taskName(a), taskName(b)) })
		}
		for _, task := range all {
			if s := r.URL.Query().Get("service"); s == "" || s == task.Service {
				tasks = append(tasks, task)
			}
		}
		return tasks, nil
	})
	read("GET /v1/nodes", func(*http.Request) (any, error) { return f.nodeList(), nil })
	read("GET /v1/waiting", func(*http.Request) (any, error) { return f.waiting, nil })
	read("GET /v1/nodes/{name}", func(r *http.Request) (any, error) {
		for _, n := range f.nodes {
			if n.Name == r.PathValue("name") || n.ID == r.PathValue("name") {
				return n, nil
			}
		}
		return nil, fmt.Errorf("no node %q: see piswarm node ls", r.PathValue("name"))
	})
	read("GET /v1/images", func(*http.Request) (any, error) { return f.images, nil })
	read("GET /v1/secrets", func(*http.Request) (any, error) { return f.secrets, nil })
	read("GET /v1/secrets/{name}", func(r *http.Request) (any, error) {
		for _, s := range f.secrets {
			if s.Name == r.PathValue("name") {
				return s, nil
			}
		}
		return nil, fmt.Errorf("no secret named %s: see piswarm secret ls", r.PathValue("name"))
	})
	read("GET /v1/configs", func(*http.Request) (any, error) {
		files := []client.File{}
		for _, c := range f.configs {
			files = append(files, c.File)
		}
		return files, nil
	})
	read("GET /v1/configs/{name}", func(r *http.Request) (any, error) {
		for _, c := range f.configs {
			if c.Name == r.PathValue("name") {
				return c, nil
			}
		}
		return nil, fmt.Errorf("no config named %s: see piswarm config ls", r.PathValue("name"))
	})
	read("GET /v1/token", func(*http.Request) (any, error) { return client.Token{Token: "PSWM-1-home-secret"}, nil })
	mux.HandleFunc("POST /v1/services", func(w http.ResponseWriter, r *http.Request) {
		f.answer(w, r, http.StatusCreated, func(*http.Request) (any, error) { return f.written, nil })
	})
	mux.HandleFunc("POST /v1/init", func(w http.ResponseWriter, r *http.Request) {
		f.answer(w, r, http.StatusOK, func(*http.Request) (any, error) { return client.Token{Token: "PSWM-1-home-secret"}, nil })
	})
	for _, pattern := range []string{
		"POST /v1/services/{name}/scale", "PUT /v1/services/{name}", "POST /v1/services/{name}/rollback", "DELETE /v1/services/{name}",
		"POST /v1/secrets", "DELETE /v1/secrets/{name}", "POST /v1/configs", "DELETE /v1/configs/{name}",
		"PATCH /v1/nodes/{name}", "DELETE /v1/nodes/{name}", "DELETE /v1/images",
		"POST /v1/join", "POST /v1/leave",
	} {
		read(pattern, func(*http.Request) (any, error) { return f.written, nil })
	}
	mux.HandleFunc("POST /v1/token/rotate", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `{"message":"the new token is on pi1, pi2"}`)
		fmt.Fprintln(w, `{"done":true,"rotation":{"token":"PSWM-1-new-secret","nodes":["pi1","pi2"],"missing":["pi3"],"behind":[]}}`)
	})
	mux.HandleFunc("POST /v1/images/load", f.stream)
	mux.HandleFunc("POST /v1/images/pull", f.stream)
	mux.HandleFunc("GET /v1/events", f.serveEvents)
	f.addReach(mux)
	f.addStacks(read)
	return mux
}

// answer notes a request and answers it with what get returns.
func (f *fakeAgent) answer(w http.ResponseWriter, r *http.Request, status int, get func(*http.Request) (any, error)) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	request := strings.TrimSpace(r.Method + " " + r.URL.RequestURI() + " " + string(body))
	f.requests = append(f.requests, request)
	v, err := get(r)
	overtaken := r.Method == http.MethodPut && f.overtake > 0
	if overtaken {
		f.overtake--
		f.services[0].Version += "+"
	}
	refused, ok := f.refuse[r.Method+" "+r.URL.Path]
	onWrite := f.onWrite
	f.mu.Unlock()
	switch {
	case overtaken || f.conflict && r.Method == http.MethodPut:
		status, v = http.StatusConflict, client.Problem{Error: "changed meanwhile"}
	case ok:
		status, v = http.StatusBadRequest, client.Problem{Error: refused}
	case err != nil:
		status, v = http.StatusNotFound, client.Problem{Error: err.Error()}
	case r.Method != http.MethodGet && onWrite != nil:
		onWrite(request)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func (f *fakeAgent) stream(w http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, r.Body)
	f.mu.Lock()
	f.requests = append(f.requests, fmt.Sprintf("%s %s (%d bytes)", r.Method, r.URL.Path, n))
	progress := f.progress
	f.mu.Unlock()
	w.Header().Set("Content-Type", "application/x-ndjson")
	for _, p := range progress {
		json.NewEncoder(w).Encode(p)
	}
}

func (f *fakeAgent) serveEvents(w http.ResponseWriter, r *http.Request) {
	events := make(chan client.Event, 100)
	f.mu.Lock()
	on := f.events
	f.watchers = append(f.watchers, events)
	f.mu.Unlock()
	if !on {
		http.Error(w, "no events", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, ": hello\n\n")
	w.(http.Flusher).Flush()
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return
			}
			data, _ := json.Marshal(e)
			fmt.Fprintf(w, "data: %s\n\n", data)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

// closeWatchers ends all streams of events, as an agent does that stops.
func (f *fakeAgent) closeWatchers() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.watchers {
		close(c)
	}
	f.watchers = nil
}

// change changes the cluster and tells all watchers.
func (f *fakeAgent) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	for _, c := range f.watchers {
		c <- client.Event{Kind: "report"}
	}
}

// writes returns the requests that are no reads.
func (f *fakeAgent) writes() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(f.requests), func(r string) bool { return strings.HasPrefix(r, "GET ") })
}

func (f *fakeAgent) all() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

func (f *fakeAgent) service(name string) (client.Service, error) {
	for _, s := range f.services {
		if s.Spec.Name == name {
			s.Status = f.status(s)
			return s, nil
		}
	}
	return client.Service{}, fmt.Errorf("no service %q: see piswarm ls", name)
}

func (f *fakeAgent) serviceList() []client.ServiceStatus {
	var all []client.ServiceStatus // nil when there are none, as a careless agent would answer
	for _, s := range f.services {
		all = append(all, f.status(s))
	}
	return all
}

func (f *fakeAgent) status(s client.Service) client.ServiceStatus {
	status := client.ServiceStatus{
		ID: s.ID, Name: s.Spec.Name, Mode: s.Spec.Mode, Image: s.Spec.Container.Image, Ports: s.Spec.Ports,
		Replicas: client.ReplicaCount{Desired: s.Spec.Replicas}, Update: client.UpdateStatus{State: cluster.UpdateCompleted},
	}
	if s.Status.Update.State != "" {
		status.Update = s.Status.Update
	}
	if s.Spec.Mode.Job() {
		status.Replicas.Total, status.Replicas.Completed = s.Spec.Replicas, s.Status.Replicas.Completed
	}
	for _, task := range f.tasks {
		if task.Service != s.Spec.Name {
			continue
		}
		if s.Spec.Mode == cluster.Global && wanted(task) {
			status.Replicas.Desired++
		}
		if task.State == cluster.Running {
			status.Replicas.Running++
		}
	}
	return status
}

func (f *fakeAgent) nodeList() []client.NodeStatus {
	var all []client.NodeStatus
	for _, n := range f.nodes {
		all = append(all, n.NodeStatus)
	}
	return all
}
