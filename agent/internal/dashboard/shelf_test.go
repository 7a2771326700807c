package dashboard

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// shelf is an API that answers from memory, and remembers what it was asked to change.
type shelf struct {
	mu       sync.Mutex
	nodes    map[string]client.NodeStatus
	services map[string]client.Service
	tasks    map[string]client.Task
	streams  map[chan client.Event]bool
	asked    []string // changes, as METHOD PATH BODY
	looks    int      // how often the status was read
	broken   bool     // it answers nothing
}

// env is what must never come to a browser.
const env = "PASSWORD=hunter2"

// newShelf is one of so many nodes and tasks of so many services.
func newShelf(nodes, services, tasks int) *shelf {
	s := &shelf{
		nodes: map[string]client.NodeStatus{}, services: map[string]client.Service{}, tasks: map[string]client.Task{},
		streams: map[chan client.Event]bool{},
	}
	for i := range nodes {
		id := fmt.Sprintf("node%04d", i+1)
		s.nodes[id] = client.NodeStatus{
			ID: id, Name: fmt.Sprintf("pi%d", i+1), Address: fmt.Sprintf("192.168.%d.%d", 1+i/250, 1+i%250), State: cluster.Ready,
			Availability: cluster.Active, Leader: i == 0, OS: "linux", Arch: "arm", Variant: "v6", Warnings: []string{},
		}
	}
	for i := range services {
		name := fmt.Sprintf("service%d", i+1)
		spec := cluster.Spec{Name: name, Mode: cluster.Replicated, Replicas: tasks / services, Container: cluster.Container{
			Image: "docker.io/library/" + name + ":1", Env: []string{env}, Args: []string{"--" + env}, Labels: map[string]string{"label": env},
		}}
		s.services[name] = client.Service{
			Service: cluster.Service{ID: name, Spec: spec, SpecVersion: 7}, Version: "5.aaaa",
			Status: client.ServiceStatus{
				ID: name, Name: name, Mode: cluster.Replicated, Image: spec.Container.Image,
				Replicas: client.ReplicaCount{Running: tasks / services, Desired: tasks / services},
				Ports:    []cluster.Port{{Published: uint16(9000 + i), Target: 80, Protocol: cluster.TCP, Mode: cluster.PortIngress}},
				Update:   client.UpdateStatus{State: cluster.UpdateCompleted},
			},
		}
	}
	for i := range tasks {
		id := fmt.Sprintf("task%05d", i+1)
		node := fmt.Sprintf("node%04d", 1+i%nodes)
		s.tasks[id] = client.Task{
			ID: id, Service: fmt.Sprintf("service%d", 1+i%services), Slot: 1 + i/services, Node: s.nodes[node].Name, NodeID: node,
			Image: "docker.io/library/web:1", Desired: cluster.Running, State: cluster.Running, Address: "10.77.3.2", Since: time.Now(), SpecVersion: 7,
		}
	}
	return s
}

// change changes something, and tells.
func (s *shelf) change(e client.Event, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	for c := range s.streams {
		select {
		case c <- e:
		default:
		}
	}
}

// move moves a task to another node.
func (s *shelf) move(task, node string) {
	s.change(client.Event{Kind: "task", Name: task, Action: "running", Node: s.nodes[node].Name}, func() {
		t := s.tasks[task]
		t.NodeID, t.Node = node, s.nodes[node].Name
		s.tasks[task] = t
	})
}

func (s *shelf) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func sorted[V any](m map[string]V) []V {
	all := make([]V, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		all = append(all, m[key])
	}
	return all
}

func (s *shelf) handler() http.Handler {
	mux := http.NewServeMux()
	get := func(pattern string, f func(r *http.Request) (any, bool)) {
		mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			v, ok := f(r)
			if s.broken {
				v, ok = client.Problem{Error: "this node is in no cluster yet"}, false
			}
			raw, err := json.Marshal(v)
			s.mu.Unlock()
			if err != nil {
				panic(err)
			}
			if !ok {
				w.WriteHeader(http.StatusNotFound)
			}
			_, _ = w.Write(raw)
		})
	}
	get("/v1/status", func(*http.Request) (any, bool) {
		s.looks++
		st := client.Status{Cluster: "home", Leader: "pi1", Nodes: sorted(s.nodes)}
		for _, one := range sorted(s.services) {
			st.Services = append(st.Services, one.Status)
		}
		return st, true
	})
	get("/v1/tasks", func(r *http.Request) (any, bool) {
		all := sorted(s.tasks)
		if name := r.URL.Query().Get("service"); name != "" {
			all = slices.DeleteFunc(all, func(t client.Task) bool { return t.Service != name })
		}
		if r.URL.Query().Get("history") != "" && len(all) > 0 {
			past := all[0]
			past.ID, past.State, past.Desired, past.Error = "past", cluster.Failed, client.Shutdown, "exit code 3"
			all = append(all, past)
		}
		return all, true
	})
	get("/v1/waiting", func(*http.Request) (any, bool) { return []client.NodeStatus{}, true })
	get("/v1/stats", func(*http.Request) (any, bool) {
		var all []client.NodeStats
		for id := range s.nodes {
			all = append(all, client.NodeStats{ID: id, CPUs: 1, Load: .5, MemoryBytes: 100 << 20, MemoryTotal: 400 << 20, Temperature: 41.2})
		}
		return all, true
	})
	get("/v1/nodes/{id}", func(r *http.Request) (any, bool) {
		n, ok := s.nodes[r.PathValue("id")]
		if !ok {
			return client.Problem{Error: "no node named " + r.PathValue("id")}, false
		}
		return client.Node{NodeStatus: n, Role: cluster.Manager, Description: cluster.Description{Model: "Raspberry Pi Zero W Rev 1.1", Kernel: "6.1.21"}}, true
	})
	get("/v1/services/{name}", func(r *http.Request) (any, bool) {
		one, ok := s.services[r.PathValue("name")]
		if !ok {
			return client.Problem{Error: "no service named " + r.PathValue("name")}, false
		}
		return one, true
	})
	mux.HandleFunc("GET /v1/logs", func(w http.ResponseWriter, r *http.Request) {
		for i := range 100 {
			_ = json.NewEncoder(w).Encode(client.LogLine{Task: r.URL.Query().Get("task"), Time: time.Now(), Text: fmt.Sprintf("line %d <b>&", i)})
		}
	})
	mux.HandleFunc("GET /v1/events", s.events)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.asked = append(s.asked, strings.TrimSpace(r.Method+" "+r.URL.Path+" "+string(body)))
		s.mu.Unlock()
		_ = json.NewEncoder(w).Encode(client.Written{Holders: 1})
	})
	return mux
}

func (s *shelf) events(w http.ResponseWriter, r *http.Request) {
	c := make(chan client.Event, 100)
	s.mu.Lock()
	if s.broken {
		s.mu.Unlock()
		w.WriteHeader(http.StatusConflict)
		_ = json.NewEncoder(w).Encode(client.Problem{Error: "this node is in no cluster yet"})
		return
	}
	s.streams[c] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.streams, c)
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(text string) {
		_, _ = io.WriteString(w, text)
		_ = http.NewResponseController(w).Flush()
	}
	send(": listening\n\n")
	for {
		select {
		case <-r.Context().Done():
			return
		case e := <-c:
			raw, _ := json.Marshal(e)
			send("data: " + string(raw) + "\n\n")
		}
	}
}

// page is a dashboard of a shelf, served on loopback.
type page struct {
	*Dashboard
	shelf *shelf
	url   string
}

func open(t testing.TB, s *shelf, view bool) page {
	t.Helper()
	c := client.InProcess(s.handler())
	d := New(Config{
		Client: c, Sessions: &Sessions{}, View: view, Log: slog.New(slog.DiscardHandler),
		Metrics: func(w io.Writer) { _, _ = io.WriteString(w, "piswarm_services 1\n") },
		Scraper: func(token string) bool { return token == "right" },
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	server := httptest.NewServer(d.Handler())
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		c.Close()
	})
	return page{d, s, server.URL}
}
