package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/piswarm/piswarm/agent/internal/api"
	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/agent/internal/dashboard"
	"github.com/piswarm/piswarm/agent/internal/discovery"
	"github.com/piswarm/piswarm/agent/internal/dockerapi"
	"github.com/piswarm/piswarm/agent/internal/floating"
	"github.com/piswarm/piswarm/agent/internal/footprint"
	"github.com/piswarm/piswarm/agent/internal/identity"
	"github.com/piswarm/piswarm/agent/internal/loop"
	"github.com/piswarm/piswarm/agent/internal/network"
	"github.com/piswarm/piswarm/agent/internal/upgrade"
	"github.com/piswarm/piswarm/pkg/client"
)

// Version and Commit are set by the linker.
var (
	Version = "0.0.0-dev"
	Commit  = "unknown"
)

// Options of an agent.
type Options struct {
	Paths     Paths
	Advertise string     // over the configuration's
	VIP       netip.Addr // over the configuration's
	// Shutdown is the cause that ends the context of an agent whose machine is going down, or which its user has
	// stopped for good: it hands its tasks over to the other nodes before it ends. With any other cause the agent
	// ends at once and its containers run on, for it will be back in a moment.
	Shutdown error
	Log      *slog.Logger
}

// Agent is one node.
type Agent struct {
	opts Options
	cfg  Config
	log  *slog.Logger
	dir  identity.Dir
	node identity.Node
	name string // host name

	network *network.Network
	runtime *containers.Runtime
	upgrade upgrade.Target

	mu      sync.Mutex
	changed chan struct{} // closed and made anew when membership or session changes
	member  *identity.Membership
	found   bool       // the membership was made by init here: this node says what the cluster is
	met     netip.Addr // the member that proved the token of the last join; mDNS may not reach there
	session *session   // nil while there is none, or it is not up yet

	changing sync.Mutex // a membership is read, changed and saved

	visitors *dashboard.Sessions // of the page
	passes   *metrics.Set        // how long those of the loops took

	watchdog  loop.Watchdog
	ending    atomic.Bool // the machine goes down, or the agent for good
	firstLife bool        // since the machine was booted
	notice    string      // what the user should know of this node's identity
}

// Run is the whole life of an agent: it returns when ctx ends, or when it cannot do its work. With the cause
// opts.Shutdown it first hands its tasks over.
func Run(ctx context.Context, opts Options) error {
	if os.Geteuid() != 0 {
		return errors.New("the agent needs root: run it with sudo, or as a service: systemctl start piswarm")
	}
	discovery.Quiet()
	unlock, err := lock(opts.Paths.Run)
	if err != nil {
		return err
	}
	defer unlock()
	a, err := open(ctx, opts)
	if err != nil {
		return err
	}
	defer a.close()
	listener, err := listen(filepath.Join(opts.Paths.Run, "piswarm.sock"))
	if err != nil {
		return err
	}
	docker, err := listen(filepath.Join(opts.Paths.Run, "docker.sock"))
	if err != nil {
		listener.Close()
		return err
	}
	people := api.New(a, a.log).Handler()
	server := &http.Server{
		Handler: people, ReadHeaderTimeout: api.ReadHeaderTimeout,
		IdleTimeout: api.IdleTimeout, MaxHeaderBytes: api.MaxHeaderBytes,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		// What a person asks for ends when the agent is told to.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	dockerServer := &http.Server{
		Handler: dockerapi.New(client.InProcess(people)), ReadHeaderTimeout: api.ReadHeaderTimeout,
		IdleTimeout: api.IdleTimeout, MaxHeaderBytes: api.MaxHeaderBytes,
		ErrorLog:    slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	ctx, stop := a.outlive(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serve(ctx, server, listener) })
	group.Go(func() error { return serve(ctx, dockerServer, docker) })
	group.Go(func() error { return a.live(ctx) })
	group.Go(func() error { return a.feedWatchdog(ctx) })
	group.Go(func() error {
		if err := footprint.Run(ctx); err != nil { // the agent works as well with more memory
			a.log.Warn("the agent keeps more memory than it needs", "error", err)
		}
		return nil
	})
	// Not under systemd, this does nothing.
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		a.log.Warn("tell systemd that the agent is up", "error", err)
	}
	return group.Wait()
}

// feedWatchdog tells systemd that no loop hangs, if it wants to know (WatchdogSec in piswarm.service).
func (a *Agent) feedWatchdog(ctx context.Context) error {
	within, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		a.log.Warn("systemd's watchdog gets no answers", "error", err)
	}
	if err != nil || within == 0 {
		return nil
	}
	return a.watchdog.Run(ctx, within/2, func() {
		if _, err := daemon.SdNotify(false, daemon.SdNotifyWatchdog); err != nil {
			a.log.Warn("tell systemd that nothing hangs", "error", err)
		}
	}, a.log)
}

// open reads what the node knows of itself and opens its neighbours.
func open(ctx context.Context, opts Options) (*Agent, error) {
	cfg, err := LoadConfig(opts.Paths.Config)
	if err != nil {
		return nil, err
	}
	if opts.Advertise != "" {
		cfg.Advertise = opts.Advertise
	}
	if opts.VIP.IsValid() {
		cfg.VIP = opts.VIP
	}
	a := &Agent{
		opts: opts, cfg: cfg, log: opts.Log, dir: identity.Dir(opts.Paths.Data), changed: make(chan struct{}),
		visitors: &dashboard.Sessions{}, passes: metrics.NewSet(),
	}
	a.watchdog.Took = a.took
	if a.node, err = a.dir.Node(); err != nil {
		return nil, err
	}
	if a.name, err = os.Hostname(); err != nil {
		return nil, fmt.Errorf("host name: %w", err)
	}
	if err := a.readMembership(); err != nil {
		return nil, err
	}
	// Before the node looks for its own address, of which there must be one.
	if err := floating.CleanupOther(vipNote(opts.Paths), cfg.VIP); err != nil {
		return nil, err
	}
	if a.network, err = network.New(network.Config{Bridge: bridgeName, Namespaces: filepath.Join(opts.Paths.Run, "netns"), Floating: cfg.VIP}); err != nil {
		return nil, err
	}
	// Several addresses and no choice made is for the user to mend; none at all may come with the Wi-Fi.
	if _, err := a.network.LAN(cfg.Advertise); err != nil && !errors.Is(err, network.ErrNoLAN) {
		a.network.Close()
		return nil, err
	}
	if a.node.Elsewhere() {
		if err := a.renew("its card was first used in another Pi"); err != nil {
			a.network.Close()
			return nil, err
		}
	}
	program, err := os.Executable()
	if err != nil {
		a.network.Close()
		return nil, fmt.Errorf("find this program: %w", err)
	}
	a.upgrade = upgrade.Target{Dir: upgradeDir(opts.Paths), Program: program, Version: Version}
	if err := a.upgrade.Resume(ctx); err != nil {
		a.log.Warn("an upgrade that was interrupted does not go on", "error", err)
	}
	_, err = os.Stat(filepath.Join(opts.Paths.Run, livedFile))
	a.firstLife = errors.Is(err, os.ErrNotExist)
	a.runtime, err = containers.Open(ctx, containers.Config{
		LogDir: filepath.Join(opts.Paths.Run, "logs"), FilesDir: filepath.Join(opts.Paths.Run, "containers"),
		VolumesDir: filepath.Join(opts.Paths.Data, "volumes"), Init: program, Log: a.log,
	})
	if err != nil {
		a.network.Close()
		return nil, err
	}
	return a, nil
}

func (a *Agent) close() {
	if err := a.runtime.Close(); err != nil {
		a.log.Debug("close containerd", "error", err)
	}
	a.network.Close()
}

// serve answers until ctx ends.
func serve(ctx context.Context, server *http.Server, listener net.Listener) error {
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	select {
	case err := <-done:
		return fmt.Errorf("answer on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	// Streams of events never end by themselves: they get a moment, then they are cut.
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if server.Shutdown(grace) != nil {
		_ = server.Close()
	}
	<-done
	return nil
}

// lock makes sure that this is the only agent of the node.
func lock(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("prepare %s: %w", dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "agent.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("prepare %s: %w", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.New("an agent runs on this node already: `piswarm status` asks it, `systemctl stop piswarm` ends it")
		}
		return nil, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, nil
}

// listen makes the socket for people: for root and the group piswarm.
func listen(path string) (net.Listener, error) {
	// A socket left by an agent that was killed; the lock says that nobody answers on it.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("prepare %s: %w", path, err)
	}
	mask := unix.Umask(0o177)
	listener, err := net.Listen("unix", path)
	unix.Umask(mask)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := openToGroup(path); err != nil {
		listener.Close()
		return nil, err
	}
	return listener, nil
}

func openToGroup(path string) error {
	group, err := user.LookupGroup("piswarm")
	var unknown user.UnknownGroupError
	if errors.As(err, &unknown) {
		return nil // not installed from a package: the socket is root's alone
	} else if err != nil {
		return fmt.Errorf("look for group piswarm: %w", err)
	}
	id, err := strconv.Atoi(group.Gid)
	if err == nil {
		err = os.Chown(path, 0, id)
	}
	if err == nil {
		err = os.Chmod(path, 0o660)
	}
	if err != nil {
		return fmt.Errorf("let group piswarm use %s: %w", path, err)
	}
	return nil
}

// Version says what this program is.
func (a *Agent) Version() client.Version {
	v := client.Version{
		Version: Version, Commit: Commit, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, Node: a.name,
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	v.NodeID = a.node.ID
	if a.member != nil {
		v.ClusterID = a.member.Keys.Primary.ClusterID()
	}
	if a.session != nil {
		v.Address = a.session.lan.Address.String()
	} else if lan, err := a.network.LAN(a.cfg.Advertise); err == nil {
		v.Address = lan.Address.String()
	}
	return v
}
