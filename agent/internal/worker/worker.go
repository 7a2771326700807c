package worker

import (
	"context"
	"errors"
	"log/slog"
	"net"
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
	Sweep(context.Context) error
	Events(context.Context) <-chan containers.Event
	Create(context.Context, containers.Spec) error
	Start(ctx context.Context, id string) error
	Stop(ctx context.Context, id, signal string, grace time.Duration) error
	Remove(ctx context.Context, id string) error
	Images(context.Context) ([]cluster.Image, error)
	Pull(context.Context, containers.PullRequest) error
	Disk(context.Context) (containers.Disk, error)
	ImageHealth(ctx context.Context, digest string) (cluster.Health, error)
	Exec(ctx context.Context, id string, argv []string, limit time.Duration) (containers.Ended, error)
	PruneImages(ctx context.Context, keep map[string]bool, free int64) ([]string, error)
}

// Network gives containers their place in the network.
type Network interface {
	Attach(ctx context.Context, id string, addr netip.Addr) (namespace string, err error)
	Detach(ctx context.Context, id string) error
	Attachments() ([]network.Attachment, error)
	// Listening tells whether the programs in a container have opened all of these ports.
	Listening(ctx context.Context, id string, ports []cluster.Port) (bool, error)
	// Connections counts those that are open to a container of this node.
	Connections(ctx context.Context, container netip.Addr) (int, error)
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
	// Released says, sorted, which tasks of any node run without being planned, and get no new connection from this
	// node; ReleasedChanged is signalled when it says something else.
	Released        func() []string
	ReleasedChanged <-chan struct{}
	// Leaving tells whether this node is shutting down. Whoever shuts it down signals Members.
	Leaving func() bool
	// Open returns the value of a secret, sealed under the key of its record.
	Open func(key string, sealed []byte) ([]byte, error)
	// Peer returns how to fetch images from that node.
	Peer     func(id string) (containers.Peer, bool)
	Watchdog *loop.Watchdog // may be nil
	Log      *slog.Logger
}

// patience is how long a starting agent waits for containerd before it reports that it runs nothing. Until it
// reports, the others go by the report of its former life, and a containerd that is restarting keeps its
// containers.
const patience = 15 * time.Second

// retry is how long after a look at containerd that had no answer the next one is tried, if no event comes before.
const retry = 5 * time.Second

// Worker is the loop.
type Worker struct {
	cfg     Config
	wake    loop.Trigger
	started time.Time
	slots   chan struct{} // bounds how many containers are made at a time
	checks  loop.Trigger  // wakes the watch
	asks    chan struct{} // bounds how many commands are begun at a time
	dial    func(ctx context.Context, network, address string) (net.Conn, error)

	mu      sync.Mutex
	tasks   map[string]*task
	history []cluster.TaskStatus // lives that are over, the latest first
	images  []cluster.Image
	listed  bool              // containerd was asked, and events tell what changes since
	inspect bool              // the images have to be listed
	writers map[string]string // who made the plan, by service
	ready   map[string]bool   // nodes that were ready at the last look
	met     time.Time         // when one became so
	disk    disk
	last    netip.Addr
	timer   *time.Timer // wakes the loop when a pause is over
	first   sync.Once
	told    chan struct{} // closed by the first report
	report  []byte        // as last published
}

// New returns the loop.
func New(cfg Config) *Worker {
	wake := loop.NewTrigger()
	timer := time.AfterFunc(time.Hour, wake.Set)
	timer.Stop()
	return &Worker{
		checks: loop.NewTrigger(), asks: make(chan struct{}, maxAsks), dial: (&net.Dialer{}).DialContext,
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
	dirty, cancel := w.cfg.Store.Watch(state.Kinds(cluster.KindService, cluster.KindPlan, cluster.KindReport, cluster.KindSecret, cluster.KindConfig))
	defer cancel()
	defer w.timer.Stop()
	group, ctx := errgroup.WithContext(ctx)
	var steps errgroup.Group
	group.Go(func() error {
		w.follow(ctx)
		return nil
	})
	group.Go(func() error {
		w.watch(ctx)
		return nil
	})
	group.Go(func() error {
		wake := []<-chan struct{}{w.wake, dirty, w.cfg.Members, w.cfg.ReleasedChanged}
		defer steps.Wait() // the steps' errors are the tasks'
		return loop.Loop{Name: "worker", Wake: append(wake, once(ctx, w.cfg.Go)), Resync: 15 * time.Second, Watchdog: w.cfg.Watchdog, Log: w.cfg.Log,
			Pass: func(brief context.Context) error {
				looked := w.look(brief)
				return w.pass(ctx, looked, &steps) // the steps that it begins outlive it
			}}.Run(ctx)
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

// pass does what follows from a look at containerd, which may have had an error.
func (w *Worker) pass(ctx context.Context, err error, steps *errgroup.Group) error {
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
		w.tidy(ctx, v, steps)
	}
	if errors.Is(err, containers.ErrUnavailable) {
		// No fault of this pass, and not to be met by longer and longer pauses: the event that says that containerd
		// is back wakes the loop at once.
		w.cfg.Log.Debug("containerd was not asked", "error", err)
		again, err = retry, nil
	}
	w.timer.Stop()
	if again > 0 {
		w.timer.Reset(again)
	}
	if !w.listed && time.Since(w.started) < patience {
		return err
	}
	w.forgetRemoved(v)
	w.checks.Set()
	if reportErr := w.publish(); err == nil {
		err = reportErr
	}
	return err
}
