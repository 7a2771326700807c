package containers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
)

// ErrUnavailable is the kind of every error that only says that containerd cannot be reached just now.
var ErrUnavailable = errors.New("containerd does not answer")

// Config says where containerd is and where its containers' files go. An empty field has the default that its
// comment names.
type Config struct {
	Socket    string // /run/containerd/containerd.sock
	Namespace string // piswarm; also the name of the containers' parent cgroup
	LogDir    string // /run/piswarm/logs, on tmpfs: output of each container, in <ID>.log
	FilesDir  string // /run/piswarm/containers, on tmpfs: the files mounted into each container
	// VolumesDir is where each named volume has its directory: /var/lib/piswarm/volumes.
	VolumesDir string
	// HostsDir holds containerd's own configuration of registries: /etc/containerd/certs.d.
	HostsDir string
	// LogBytes is how much of the end of each container's output is kept: 1 MiB.
	LogBytes int64
	// Init is the program that a container gets as its first process if it is to have one: this program. As such it goes
	// by the name piswarm-init.
	Init string
	Log  *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Socket = cmp.Or(c.Socket, "/run/containerd/containerd.sock")
	c.Namespace = cmp.Or(c.Namespace, "piswarm")
	c.LogDir = cmp.Or(c.LogDir, "/run/piswarm/logs")
	c.FilesDir = cmp.Or(c.FilesDir, "/run/piswarm/containers")
	c.VolumesDir = cmp.Or(c.VolumesDir, "/var/lib/piswarm/volumes")
	c.HostsDir = cmp.Or(c.HostsDir, "/etc/containerd/certs.d")
	c.LogBytes = cmp.Or(c.LogBytes, 1<<20)
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	return c
}

// Runtime is the containerd of this machine. Its methods may be called by several goroutines at once; what
// concerns one container is called by one of them after the other.
type Runtime struct {
	cfg    Config
	client *client.Client
	conn   *grpc.ClientConn
	groups groups
	pulls  pulls
	growth growth // of the logs

	// loading is held by the one import that may run: containerd's importer names its unfinished parts after
	// the files of the archive, so two imports would mix theirs.
	loading chan struct{}

	fromPeers, fromRegistries atomic.Uint64 // bytes

	mu          sync.Mutex
	snapshotter string           // "" until containerd was asked
	root        string           // likewise: of its content store
	sizes       map[string]int64 // of images, by digest
	commands    map[string]bool  // that run, by container and name
}

const (
	// reachLimit is how long a call waits for a containerd that is just being restarted.
	reachLimit = 5 * time.Second
	// quickLimit bounds calls in which containerd only looks things up. A busy SD card makes seconds of them.
	quickLimit = 30 * time.Second
	// slowLimit bounds calls that start processes or write much.
	slowLimit = 2 * time.Minute
	// redial is the longest pause between two attempts to reach containerd again.
	redial = time.Second
)

// Fetched is how many bytes of images came from other members and from registries.
func (r *Runtime) Fetched() (peers, registries uint64) {
	return r.fromPeers.Load(), r.fromRegistries.Load()
}

// Open prepares a Runtime. containerd need not be up: each call says so by itself, and works again when it is.
func Open(_ context.Context, cfg Config) (*Runtime, error) {
	cfg = cfg.withDefaults()
	for _, dir := range []string{cfg.LogDir, cfg.FilesDir} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return nil, fmt.Errorf("open containers: %w", err)
		}
	}
	cl, err := client.New(cfg.Socket,
		client.WithDefaultNamespace(cfg.Namespace),
		// Naming it spares a question to containerd before each container.
		client.WithDefaultRuntime(runtimeName),
		client.WithExtraDialOpts([]grpc.DialOption{
			// containerd's own dialer retries by itself for ten seconds while the socket is missing, which
			// hides from gRPC, and so from every caller, that nobody is there.
			grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, "unix", strings.TrimPrefix(addr, "unix://"))
			}),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: redial / 10, Multiplier: 1.6, Jitter: 0.2, MaxDelay: redial},
				MinConnectTimeout: reachLimit,
			}),
			// An unused connection costs nothing; giving it up would cost a reconnect in every quiet night.
			grpc.WithIdleTimeout(0),
		}))
	if err != nil {
		return nil, fmt.Errorf("open containerd at %s: %w", cfg.Socket, err)
	}
	conn, ok := cl.Conn().(*grpc.ClientConn)
	if !ok {
		return nil, fmt.Errorf("open containerd at %s: its client has a connection of type %T", cfg.Socket, cl.Conn())
	}
	return &Runtime{
		cfg: cfg, client: cl, conn: conn,
		groups:  newGroups(),
		pulls:   newPulls(),
		loading: make(chan struct{}, 1),
		growth:  newGrowth(),
		sizes:   map[string]int64{}, commands: map[string]bool{},
	}, nil
}

// Close gives up the connection. Containers run on.
func (r *Runtime) Close() error { return r.client.Close() }

// begin starts a call to containerd that may take until limit. It waits for a containerd that is being
// restarted, so that a restart does not make every caller fail and back off.
func (r *Runtime) begin(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc, error) {
	if err := r.reach(ctx); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeoutCause(r.inNamespace(ctx), limit, r.unavailable())
	return ctx, cancel, nil
}

func (r *Runtime) inNamespace(ctx context.Context) context.Context {
	return log.WithLogger(namespaces.WithNamespace(ctx, r.cfg.Namespace), silence)
}

// silence is for containerd's client, which logs by itself what it returns as an error too.
var silence = logrus.NewEntry(&logrus.Logger{Out: io.Discard, Level: logrus.PanicLevel})

// reach waits for a connection to containerd.
func (r *Runtime) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, reachLimit, r.unavailable())
	defer cancel()
	for {
		state := r.conn.GetState()
		if state == connectivity.Ready {
			return nil
		}
		r.conn.Connect()
		if !r.conn.WaitForStateChange(ctx, state) {
			return context.Cause(ctx)
		}
	}
}

func (r *Runtime) unavailable() error {
	return fmt.Errorf("%w on %s: is it running? systemctl status containerd", ErrUnavailable, r.cfg.Socket)
}

// explain makes one clear error of what a call gave: that containerd went away meanwhile, or took too long, or
// what it really said.
func (r *Runtime) explain(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errdefs.IsUnavailable(err):
		return r.unavailable()
	case ctx.Err() != nil || overdue(ctx, err):
		return context.Cause(ctx)
	case isNoSpace(err):
		return kindError{ErrNoSpace, fmt.Errorf("no space left on this node's disk: remove images with piswarm image rm, or see with df -h what fills it (%w)", err)}
	}
	return err
}

// overdue tells whether that is the end of the context's time, and waits for it: containerd, which is told the time, sees it
// pass a moment before this process does now and then.
func overdue(ctx context.Context, err error) bool {
	end, ok := ctx.Deadline()
	if !ok || time.Until(end) > time.Second || !strings.Contains(err.Error(), context.DeadlineExceeded.Error()) {
		return false
	}
	<-ctx.Done()
	return true
}

// ErrNoSpace is the kind of every error that says that a disk of this node is full.
var ErrNoSpace = errors.New("no space left")

// isNoSpace tells whether the kernel has refused to write. From containerd comes only the text of it.
func isNoSpace(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || strings.Contains(err.Error(), unix.ENOSPC.Error())
}
