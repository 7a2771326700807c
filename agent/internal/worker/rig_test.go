package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/agent/internal/containers/containerstest"
	"github.com/piswarm/piswarm/agent/internal/loop"
	"github.com/piswarm/piswarm/agent/internal/network"
	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

const (
	self   = "n1"
	digest = "sha256:1"
)

// recorder is the fake runtime, with a containerd that may be away, and a look at what was asked.
type recorder struct {
	*containerstest.Fake

	mu     sync.Mutex
	away   bool
	looks  int // at containers or images
	pulls  []containers.PullRequest
	starts []time.Time
	listed func()        // runs between a listing and its arrival
	delay  time.Duration // of every start
	hang   string        // starts of tasks with this prefix hang until they are given up
	stuck  bool          // what was lost does not end
	goes   bool          // containerd goes away while the next container starts
	deaf   bool          // events do not arrive
	keeps  bool          // containers are not removed
	tries  int           // to remove one that is kept
}

func (r *recorder) Events(ctx context.Context) <-chan containers.Event {
	heard := make(chan containers.Event)
	go func() {
		defer close(heard)
		for e := range r.Fake.Events(ctx) {
			r.mu.Lock()
			deaf := r.deaf
			r.mu.Unlock()
			if !deaf {
				heard <- e
			}
		}
	}()
	return heard
}

func (r *recorder) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func (r *recorder) look() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.looks++
	if r.away {
		return fmt.Errorf("containerd: %w", containers.ErrUnavailable)
	}
	return nil
}

func (r *recorder) List(ctx context.Context) ([]containers.Container, error) {
	if err := r.look(); err != nil {
		return nil, err
	}
	list, err := r.Fake.List(ctx)
	r.mu.Lock()
	listed := r.listed
	r.mu.Unlock()
	if listed != nil {
		listed()
	}
	return list, err
}

func (r *recorder) Images(ctx context.Context) ([]cluster.Image, error) {
	if err := r.look(); err != nil {
		return nil, err
	}
	return r.Fake.Images(ctx)
}

func (r *recorder) Start(ctx context.Context, id string) error {
	r.mu.Lock()
	delay, hang := r.delay, r.hang
	r.starts = append(r.starts, time.Now())
	r.mu.Unlock()
	if hang != "" && strings.HasPrefix(id, hang) {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	time.Sleep(delay)
	err := r.Fake.Start(ctx, id)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.goes {
		r.goes, r.away = false, true
		return fmt.Errorf("containerd: %w", containers.ErrUnavailable)
	}
	return err
}

func (r *recorder) Remove(ctx context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.away:
		return fmt.Errorf("containerd: %w", containers.ErrUnavailable)
	case r.keeps:
		r.tries++
		return errors.New("read-only file system")
	}
	return r.Fake.Remove(ctx, id)
}

func (r *recorder) Sweep(ctx context.Context) error {
	r.mu.Lock()
	stuck := r.stuck
	r.mu.Unlock()
	if stuck {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return r.Fake.Sweep(ctx)
}

func (r *recorder) Stop(ctx context.Context, id, signal string, grace time.Duration) error {
	r.mu.Lock()
	away := r.away
	r.mu.Unlock()
	if away {
		return fmt.Errorf("containerd: %w", containers.ErrUnavailable)
	}
	return r.Fake.Stop(ctx, id, signal, grace)
}

func (r *recorder) Pull(ctx context.Context, request containers.PullRequest) error {
	r.set(func() { r.pulls = append(r.pulls, request) })
	return r.Fake.Pull(ctx, request)
}

// wires is the network in memory. Like the real one, it gives one address to one container.
type wires struct {
	mu       sync.Mutex
	attached map[string]netip.Addr
	open     int // connections, of each container
	counts   int
	closed   bool // containers have not opened their ports yet
}

func (n *wires) Listening(_ context.Context, id string, ports []cluster.Port) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.attached[id]; !ok {
		return false, fmt.Errorf("%s is not attached", id)
	}
	return !n.closed, nil
}

// shut makes containers open their ports late, or open them.
func (n *wires) shut(closed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = closed
}

func (n *wires) Connections(context.Context, netip.Addr) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.counts++
	return n.open, nil
}

func (n *wires) connect(open int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open = open
}

func (n *wires) Attach(_ context.Context, id string, address netip.Addr) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for other, a := range n.attached {
		if a == address && other != id {
			return "", fmt.Errorf("address %s belongs to %s", address, other)
		}
	}
	n.attached[id] = address
	return "/ns/" + id, nil
}

func (n *wires) Detach(_ context.Context, id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.attached, id)
	return nil
}

func (n *wires) Attachments() ([]network.Attachment, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var all []network.Attachment
	for _, id := range slices.Sorted(maps.Keys(n.attached)) {
		all = append(all, network.Attachment{ID: id, Addr: n.attached[id]})
	}
	return all, nil
}

// String is one line an attachment, sorted.
func (n *wires) String() string {
	all, _ := n.Attachments()
	var b strings.Builder
	for _, a := range all {
		fmt.Fprintln(&b, a.ID, a.Addr)
	}
	return b.String()
}

// rig is a worker with everything around it.
type rig struct {
	t       *testing.T
	store   *state.Store
	runtime *recorder
	wires   *wires
	members loop.Trigger
	going   chan struct{}
	worker  *Worker

	mu        sync.Mutex
	subnet    netip.Prefix
	nodes     []cluster.Member
	published int
	passes    int
	leaving   bool
}

// newRig returns a rig whose parts are made and whose worker does not run yet. It holds the image.
func newRig(t *testing.T) *rig {
	store, err := state.New(self, state.Snapshot{})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		t: t, store: store, runtime: &recorder{Fake: &containerstest.Fake{}}, wires: &wires{attached: map[string]netip.Addr{}},
		members: loop.NewTrigger(), going: make(chan struct{}), subnet: netip.MustParsePrefix("10.77.3.0/24"),
		nodes: []cluster.Member{{ID: self, Name: "pi1", Condition: cluster.Ready}, {ID: "n2", Name: "pi2", Condition: cluster.Ready}},
	}
	r.runtime.AddImage(digest)
	return r
}

// run begins a life of the agent, which ends with stop, or with the test.
func (r *rig) run() (stop func()) {
	reader := view.NewReader(r.store, func() []cluster.Member {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.Clone(r.nodes)
	}, slog.New(slog.DiscardHandler))
	r.worker = New(Config{
		Store: r.store, View: reader.View, Runtime: r.runtime, Network: r.wires, Go: r.going, Members: r.members,
		Publish: func(...string) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.published++
			return nil
		},
		Subnet: func() netip.Prefix {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.subnet
		},
		Describe: func() (cluster.Description, []string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.passes++
			return cluster.Description{Platform: zero, Hostname: "pi1"}, []string{"a warning"}
		},
		Open: func(key string, sealed []byte) ([]byte, error) {
			plain, ok := strings.CutPrefix(string(sealed), "sealed under "+key+":")
			if !ok {
				return nil, errors.New("it is sealed with another secret")
			}
			return []byte(plain), nil
		},
		Peer: func(id string) (containers.Peer, bool) {
			return containers.Peer{Name: id, BaseURL: "https://" + id, Client: http.DefaultClient}, id == "n2"
		},
		Released: func() []string { return unplanned(reader.View()) }, ReleasedChanged: make(chan struct{}),
		Leaving: func() bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.leaving
		},
		Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.worker.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("worker ended with %v", err)
		}
	})
	r.t.Cleanup(stop)
	synctest.Wait()
	return stop
}

// unplanned is what an ingress releases that is always up to date: what this node runs beside the plans.
func unplanned(v view.View) (ids []string) {
	for _, t := range v.Reports[self].Tasks {
		if s, ok := v.Service(t.Service); t.State == cluster.Running && (!ok || !slices.ContainsFunc(v.Plan(s), func(p cluster.Task) bool { return p.ID == t.ID })) {
			ids = append(ids, t.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// release makes the other node say that it leads nothing to these tasks.
func (r *rig) release(ids ...string) {
	r.t.Helper()
	r.put(cluster.ReportKey("n2"), cluster.Report{Node: cluster.Description{Platform: zero}, Released: ids})
	synctest.Wait()
}

// change changes what the worker asks for and tells it so.
func (r *rig) change(change func()) {
	r.mu.Lock()
	change()
	r.mu.Unlock()
	r.members.Set()
	synctest.Wait()
}

// planBy writes the plan of a service with those task IDs on this node, as that leader.
func (r *rig) planBy(leader, service string, ids ...string) {
	r.t.Helper()
	p := cluster.Plan{ServiceID: service + "-id", Tasks: []cluster.Task{}}
	for i, id := range ids {
		p.Tasks = append(p.Tasks, cluster.Task{ID: id, Slot: i + 1, Node: self, SpecVersion: 1})
	}
	raw, err := json.Marshal(p)
	if err != nil {
		r.t.Fatal(err)
	}
	before, _ := r.store.Get(cluster.PlanKey(service))
	record := state.Record{Key: cluster.PlanKey(service), Version: state.Version{Counter: before.Version.Counter + 1, Node: leader}, Value: raw}
	if _, err := r.store.Merge(state.Delta{Records: []state.Record{record}}); err != nil {
		r.t.Fatal(err)
	}
	synctest.Wait()
}

// start is run for a node that may start containers.
func (r *rig) start() (stop func()) {
	close(r.going)
	return r.run()
}

func (r *rig) put(key string, value any) {
	r.t.Helper()
	raw, err := json.Marshal(value)
	if err == nil {
		_, err = r.store.Put(key, raw)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// service writes a service of one image.
func (r *rig) service(name string) {
	r.t.Helper()
	r.put(cluster.ServiceKey(name), cluster.Service{ID: name + "-id", SpecVersion: 1, Spec: cluster.Spec{
		Name: name, Mode: cluster.Replicated, Container: cluster.Container{Image: "docker.io/library/" + name + ":1", Digest: digest},
	}})
}

// plan writes the plan of a service: tasks web.1, web.2 … on those nodes, and waits for what follows.
func (r *rig) plan(service string, nodes ...string) {
	r.t.Helper()
	p := cluster.Plan{ServiceID: service + "-id", Tasks: []cluster.Task{}}
	for i, node := range nodes {
		p.Tasks = append(p.Tasks, cluster.Task{ID: fmt.Sprintf("%s.%d", service, i+1), Slot: i + 1, Node: node, SpecVersion: 1})
	}
	r.put(cluster.PlanKey(service), p)
	synctest.Wait()
}

// report is what this node last said about itself.
func (r *rig) report() cluster.Report {
	r.t.Helper()
	record, ok := r.store.Get(cluster.ReportKey(self))
	if !ok {
		r.t.Fatal("no report was written")
	}
	var report cluster.Report
	if err := json.Unmarshal(record.Value, &report); err != nil {
		r.t.Fatal(err)
	}
	return report
}

// told is the tasks' part of the report as text: one task a line.
func (r *rig) told() string {
	r.t.Helper()
	var b strings.Builder
	for _, t := range r.report().Tasks {
		fmt.Fprintln(&b, strings.TrimSpace(fmt.Sprint(t.ID, " ", t.State, " ", t.Address, " ", t.Error)))
	}
	return b.String()
}

func (r *rig) writes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.published
}

func (r *rig) move(subnet string) {
	r.mu.Lock()
	r.subnet = netip.MustParsePrefix(subnet)
	r.mu.Unlock()
	r.members.Set()
	synctest.Wait()
}

// after lets that much time pass, and what happens in it.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n%swant:\n%s", what, got, want)
	}
}

var errBroken = errors.New("broken")
