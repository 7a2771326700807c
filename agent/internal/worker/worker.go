package worker

import (
	"context"
	"log/slog"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/agent/internal/loop"
	"github.com/piswarm/piswarm/agent/internal/network"
	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// Runtime runs containers.
type Runtime interface {
	List(context.Context) ([]containers.Container, error)
	Events(context.Context) <-chan containers.Event
	Create(context.Context, containers.Spec) error
	Start(ctx context.Context, id string) error
	Stop(ctx context.Context, id, signal string, grace time.Duration) error
	Remove(ctx context.Context, id string) error
	Images(context.Context) ([]cluster.Image, error)
	Pull(context.Context, containers.PullRequest) error
}

// Network gives containers their place in the network.
type Network interface {
	Attach(ctx context.Context, id string, addr netip.Addr) (namespace string, err error)
	Detach(ctx context.Context, id string) error
	Attachments() ([]network.Attachment, error)
}

// Config of the loop.
type Config struct {
	Store   *state.Store
	View    func() view.View
	Publish func(keys ...string) error // saves and spreads what was just put into the store
	Runtime Runtime
	Network Network
	// Subnet is this node's; its first address is the bridge's.
	Subnet func() netip.Prefix
	// Go is closed when the state is known and the bridge is there. Until then what runs is adopted and reported,
	// and nothing is started or stopped.
	Go <-chan struct{}
	// Members is signalled when the membership changes.
	Members <-chan struct{}
	// Describe says what this node is, for the report.
	Describe func() (cluster.Description, []string)
	// Peer returns how to fetch images from that node.
	Peer func(id string) (containers.Peer, bool)
	Log  *slog.Logger
}

// patience is how long a starting agent waits for containerd before it reports that it runs nothing. Until it
// reports, the others go by the report of its former life, and a containerd that is restarting keeps its
// containers.
const patience = 15 * time.Second

// Worker is the loop.
type Worker struct {
	cfg     Config
	wake    loop.Trigger
	started time.Time
	slots   chan struct{} // bounds how many containers are made at a time

	mu      sync.Mutex
	tasks   map[string]*task
	images  []cluster.Image
	listed  bool // containerd was asked, and events tell what changes since
	inspect bool // the images have to be listed
	last    netip.Addr
	timer   *time.Timer // wakes the loop when a pause is over
	first   sync.Once
	told    chan struct{} // closed by the first report
	report  []byte        // as last published
}

// task is what this node knows of one task.
type task struct {
	planned   cluster.Task
	service   cluster.Service
	wanted    bool
	known     bool
	container containers.State
	exit      *containers.Event // it ended and was not looked at yet
	oom       bool
	busy      bool // a step is under way
	address   netip.Addr
	failures  int // one after the other
	notBefore time.Time
	runningAt time.Time // on the monotonic clock; zero for one that was adopted
	status    cluster.TaskStatus
}

// New returns the loop.
func New(cfg Config) *Worker {
	wake := loop.NewTrigger()
	timer := time.AfterFunc(time.Hour, wake.Set)
	timer.Stop()
	return &Worker{
		cfg: cfg, wake: wake, timer: timer, told: make(chan struct{}), started: time.Now(), inspect: true, tasks: map[string]*task{},
		// Making a container is work for the processor: more at a time than there are cores gains nothing. Two
		// even on one core, because half of the time is spent waiting for the card.
		slots: make(chan struct{}, min(max(runtime.NumCPU(), 2), 4)),
	}
}

// Reported is closed when this life of the agent has said for the first time what it runs.
func (w *Worker) Reported() <-chan struct{} { return w.told }

// ImagesChanged tells the worker that the node's images are not those of its last look.
func (w *Worker) ImagesChanged() {
	w.mu.Lock()
	w.inspect = true
	w.mu.Unlock()
	w.wake.Set()
}

// Run works until ctx ends. Containers run on.
func (w *Worker) Run(ctx context.Context) error {
	dirty, cancel := w.cfg.Store.Watch(state.Kinds(cluster.KindService, cluster.KindPlan, cluster.KindReport))
	defer cancel()
	defer w.timer.Stop()
	group, ctx := errgroup.WithContext(ctx)
	var steps errgroup.Group
	group.Go(func() error {
		w.follow(ctx)
		return nil
	})
	group.Go(func() error {
		wake := []<-chan struct{}{w.wake, dirty, w.cfg.Members}
		defer steps.Wait() // the steps' errors are the tasks'
		return loop.Loop{Name: "worker", Wake: append(wake, once(ctx, w.cfg.Go)), Resync: 15 * time.Second, Log: w.cfg.Log,
			Pass: func(ctx context.Context) error { return w.pass(ctx, &steps) }}.Run(ctx)
	})
	return group.Wait()
}

// once turns a channel that will be closed into one that delivers a single wake-up.
func once(ctx context.Context, closed <-chan struct{}) <-chan struct{} {
	out := make(chan struct{}, 1)
	go func() {
		select {
		case <-ctx.Done():
		case <-closed:
			out <- struct{}{}
		}
	}()
	return out
}

// follow takes in what containerd says happened.
func (w *Worker) follow(ctx context.Context) {
	for e := range w.cfg.Runtime.Events(ctx) {
		w.mu.Lock()
		t := w.tasks[e.ID]
		switch {
		case e.Type == containers.EventResync:
			w.listed, w.inspect = false, true
		case t == nil:
			// The listing under way may be from before it ended.
			w.listed = w.listed && e.Type != containers.EventExited
		case e.Type == containers.EventOOM:
			t.oom = true
		case e.Type == containers.EventExited:
			t.exit = &e
		case e.Type == containers.EventRemoved && !t.busy && t.container != "":
			// Someone else's doing, or this worker's own before it made the present one.
			w.listed = false
		}
		w.mu.Unlock()
		w.wake.Set()
	}
}

// pass is one look at everything.
func (w *Worker) pass(ctx context.Context, steps *errgroup.Group) error {
	err := w.look(ctx)
	going := false
	select {
	case <-w.cfg.Go:
		going = true
	default:
	}
	v := w.cfg.View()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.plan(v)
	again := time.Duration(0)
	if going && w.listed {
		again = w.advance(ctx, v, steps)
	}
	w.timer.Stop()
	if again > 0 {
		w.timer.Reset(again)
	}
	if !w.listed && time.Since(w.started) < patience {
		return err
	}
	if reportErr := w.publish(); err == nil {
		err = reportErr
	}
	return err
}

// look asks containerd for what cannot be known from events.
func (w *Worker) look(ctx context.Context) error {
	w.mu.Lock()
	listed, inspect := w.listed, w.inspect
	w.inspect = false
	w.mu.Unlock()
	if inspect {
		images, err := w.cfg.Runtime.Images(ctx)
		w.mu.Lock()
		if w.inspect = w.inspect || err != nil; err == nil {
			w.images = images
		}
		w.mu.Unlock()
		if err != nil {
			return err
		}
	}
	if listed {
		return nil
	}
	// Marked before asking: an event that says otherwise meanwhile makes the next pass ask again.
	// What a step brings to its end meanwhile is newer than the answer.
	busy := map[string]bool{}
	w.mu.Lock()
	w.listed = true
	for id, t := range w.tasks {
		busy[id] = t.busy
	}
	w.mu.Unlock()
	found, err := w.cfg.Runtime.List(ctx)
	var attached []network.Attachment
	if err == nil {
		attached, err = w.cfg.Network.Attachments()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.listed = false
		return err
	}
	w.adopt(found, attached, busy)
	return nil
}

// adopt takes over what is there, but for the tasks that were busy when it was looked at.
func (w *Worker) adopt(found []containers.Container, attached []network.Attachment, busy map[string]bool) {
	addresses := map[string]netip.Addr{}
	for _, a := range attached {
		addresses[a.ID] = a.Addr
	}
	seen := map[string]bool{}
	for _, c := range found {
		seen[c.ID] = true
		t, ok := w.tasks[c.ID]
		if !ok {
			t = &task{status: cluster.TaskStatus{
				ID: c.ID, Service: c.Service, ServiceID: c.ServiceID, Slot: c.Slot, SpecVersion: c.SpecVersion,
			}}
			if c.State == containers.Running {
				t.status.State, t.status.Since = cluster.Running, c.StartedAt.UTC().Truncate(time.Second)
			} else {
				t.enter(cluster.Pending)
			}
			w.tasks[c.ID] = t
		}
		if busy[c.ID] {
			continue
		}
		if t.container == containers.Running && c.State == containers.Stopped {
			t.exit = &containers.Event{ID: c.ID, ExitCode: c.ExitCode} // while nobody could tell
			t.oom = c.OOMKilled
			continue
		}
		t.container, t.address = c.State, addresses[c.ID]
		if c.State == containers.Running {
			t.enter(cluster.Running)
		}
	}
	for id, t := range w.tasks {
		if !seen[id] && !busy[id] {
			t.container = ""
			t.address = addresses[id]
		}
	}
	for id, a := range addresses { // left by an agent that was killed between two steps
		if w.tasks[id] == nil {
			w.tasks[id] = &task{address: a, status: cluster.TaskStatus{ID: id}}
		}
	}
}

// plan notes which tasks are wanted here.
func (w *Worker) plan(v view.View) {
	for _, t := range w.tasks {
		t.wanted = false
		s, ok := v.Service(t.status.Service)
		// A service without a plan is one whose leader has not spoken yet: no reason to stop anything.
		t.known = !ok || s.ID != t.status.ServiceID || v.Plans[s.Spec.Name].ServiceID == s.ID
	}
	for _, s := range v.Services {
		for _, planned := range v.Plan(s) {
			if planned.Node != v.Self {
				continue
			}
			t, ok := w.tasks[planned.ID]
			if !ok {
				t = &task{status: cluster.TaskStatus{ID: planned.ID}}
				t.enter(cluster.Pending)
				w.tasks[planned.ID] = t
			}
			t.planned, t.service, t.wanted, t.known = planned, s, true, true
			t.status.Service, t.status.ServiceID = s.Spec.Name, s.ID
			t.status.Slot, t.status.SpecVersion = planned.Slot, planned.SpecVersion
		}
	}
}

// advance begins the next step of every task that is not in the middle of one. It returns when to look again.
func (w *Worker) advance(ctx context.Context, v view.View, steps *errgroup.Group) time.Duration {
	now := time.Now()
	subnet := w.cfg.Subnet()
	var again time.Duration
	for id, t := range w.tasks {
		if t.busy {
			continue
		}
		if t.exit != nil {
			w.ended(t, now)
		}
		do, wait := next(facts{
			wanted: t.wanted, known: t.known, container: t.container, notBefore: t.notBefore,
			misplaced: subnet.IsValid() && !subnet.Contains(t.address),
			image:     t.wanted && w.holds(t.service.Spec.Container.Digest),
		}, now)
		if wait > 0 && (again == 0 || wait < again) {
			again = wait
		}
		planned, service := t.planned, t.service // the next pass may change them while the step is under way
		switch do {
		case rest:
			continue
		case fetch:
			t.enter(cluster.Preparing)
			here, _ := w.cfg.Describe()
			from := sourceOf(v, t.service, v.Self, here.Platform)
			if from.wait {
				continue // that node's report wakes us
			}
			w.begin(ctx, steps, t, func(ctx context.Context) error { return w.fetch(ctx, service.Spec.Container, from) })
		case start:
			t.enter(cluster.Starting)
			w.begin(ctx, steps, t, func(ctx context.Context) error { return w.start(ctx, t, planned, service) })
		case stop:
			t.enter(cluster.Stopping)
			w.begin(ctx, steps, t, func(ctx context.Context) error { return w.stop(ctx, t, id, service.Spec.Container) })
		case bury:
			w.begin(ctx, steps, t, func(ctx context.Context) error { return w.bury(ctx, t, id) })
		case forget:
			if t.address.IsValid() || t.container != "" {
				w.begin(ctx, steps, t, func(ctx context.Context) error { return w.bury(ctx, t, id) })
				continue
			}
			delete(w.tasks, id)
		}
	}
	return again
}

// ended notes how a container ended that was not told to.
func (w *Worker) ended(t *task, now time.Time) {
	exit := t.exit
	t.exit = nil
	if t.container != containers.Running {
		return // an end that was asked for, or of a life before
	}
	t.container = containers.Stopped
	if t.runningAt.IsZero() || now.Sub(t.runningAt) >= stable {
		t.failures, t.status.Restarts = 0, 0
	}
	state, text := cluster.Complete, ""
	switch {
	case t.oom:
		state, text = cluster.Failed, "out of memory: the kernel killed it; raise --limit-memory"
	case exit.ExitCode != 0:
		state, text = cluster.Failed, exitText(exit.ExitCode)
	}
	t.oom = false
	w.failed(t, state, text, now)
	t.status.ExitCode = exit.ExitCode
	t.status.Restarts++
}

// failed notes that a task is to be tried again after a pause.
func (w *Worker) failed(t *task, s cluster.State, text string, now time.Time) {
	t.failures++
	t.notBefore = now.Add(pause(t.failures))
	t.enter(s)
	t.status.Error = text
}

// enter notes a change of a task's state.
func (t *task) enter(s cluster.State) {
	if t.status.State == s {
		return
	}
	t.status.State, t.status.Since = s, time.Now().UTC().Truncate(time.Second)
	if s == cluster.Running {
		t.status.Error, t.status.ExitCode = "", 0
	}
}

func (w *Worker) holds(digest string) bool {
	return holds(cluster.Report{Images: w.images}, digest)
}
