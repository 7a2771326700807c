package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/piswarm/piswarm/agent/internal/api"
	"github.com/piswarm/piswarm/agent/internal/discovery"
	"github.com/piswarm/piswarm/agent/internal/firewall"
	"github.com/piswarm/piswarm/agent/internal/gate"
	"github.com/piswarm/piswarm/agent/internal/gossip"
	"github.com/piswarm/piswarm/agent/internal/ingress"
	"github.com/piswarm/piswarm/agent/internal/leader"
	"github.com/piswarm/piswarm/agent/internal/loop"
	"github.com/piswarm/piswarm/agent/internal/network"
	"github.com/piswarm/piswarm/agent/internal/peers"
	"github.com/piswarm/piswarm/agent/internal/replication"
	"github.com/piswarm/piswarm/agent/internal/rotation"
	"github.com/piswarm/piswarm/agent/internal/snapshot"
	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/agent/internal/worker"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// bridgeName is the containers' bridge.
const bridgeName = "piswarm0"

// session is everything that exists only while the node is in a cluster.
type session struct {
	agent       *Agent
	log         *slog.Logger
	lan         network.LAN
	certificate *trust.Identity
	machine     *machine

	store   *state.Store
	disk    *disk
	gossip  *gossip.Gossip
	peers   *peers.Peers
	state   *replication.Replicator
	hearing *hearing
	waiting *discovery.Waitlist
	reader  *view.Reader
	members loop.Hub // woken when the membership or this node's place in the network changes
	rekeyed loop.Hub // woken when the cluster's secret changes
	place   *place
	names   *names
	images  *images
	vault   *vault
	api     *api.Member
	paged   atomic.Bool // the page is served

	receiver *rotation.Receiver
	keying   sync.Mutex  // a change of the secrets, on disk and in use
	rotating sync.Mutex  // this node drives a change of the cluster's secret
	hints    hints       // of a newer secret than this node's
	strayed  atomic.Bool // the others go by a secret that this node does not know

	leader   *leader.Leader
	worker   *worker.Worker
	ingress  *ingress.Ingress
	firewall *firewall.Firewall

	born    time.Time
	opened  chan struct{}   // closed when all of the above is there
	leaving atomic.Bool     // shutting down
	parted  atomic.Bool     // leaving the cluster: its records are not to come back
	claims  chan netip.Addr // where a second node goes by a member's ID
	ends    chan error      // why the session is to end
	settled chan struct{}   // closed when what the cluster wants is known as well as it can be
	going   chan struct{}   // closed when containers may be started
	left    chan struct{}   // closed by farewell
	leave   sync.Once       // closes it
}

// nodeAPILimits are those of the node API. A stranger is one for as long as the handshake takes, for which it has
// api.ReadHeaderTimeout; a member keeps two connections and opens more while it fetches images.
var nodeAPILimits = gate.Limits{Strangers: 32, PerAddress: 8, Known: 32}

var errLeft = errors.New("left the cluster")

// serveMembership runs the node as a member until ctx ends or it leaves. An error is for the agent to end with.
func (a *Agent) serveMembership(ctx context.Context, found bool) error {
	lan, err := a.awaitLAN(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	s, err := a.openSession(ctx, lan, found)
	if err == nil {
		err = s.run(ctx)
		a.set(func() { a.session = nil })
		s.members.Set() // who still listens to this session looks up and finds it gone
	}
	switch {
	case errors.Is(err, errLeft):
		return a.clear(ctx)
	case errors.Is(err, errRemoved):
		return a.banish(ctx)
	case errors.Is(err, errMoved), errors.Is(err, errRekeyed):
		return nil
	case errors.Is(err, errTwin):
		return a.renew("its card is a copy of another node's")
	}
	return err
}

// awaitLAN waits for the node to have an address.
func (a *Agent) awaitLAN(ctx context.Context) (network.LAN, error) {
	for said := false; ; {
		lan, err := a.network.LAN(a.cfg.Advertise)
		if err == nil || !errors.Is(err, network.ErrNoLAN) {
			return lan, err
		}
		if !said {
			said = true
			a.log.Info("waiting for an address on the network")
		}
		select {
		case <-ctx.Done():
			return lan, ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// openSession makes all parts; run makes them work.
func (a *Agent) openSession(ctx context.Context, lan network.LAN, found bool) (*session, error) {
	m := a.membership()
	s := &session{
		agent: a, log: a.log.With("node", a.name), lan: lan, machine: newMachine(a.runtime, a.name),
		born: time.Now(), ends: make(chan error, 1), claims: make(chan netip.Addr, 1), settled: make(chan struct{}), going: make(chan struct{}),
		left: make(chan struct{}), opened: make(chan struct{}), waiting: discovery.NewWaitlist(),
	}
	var err error
	if s.certificate, err = trust.NewIdentity(m.Keys, a.node.ID); err != nil {
		return nil, err
	}
	if err := s.greetTwin(ctx); err != nil {
		return nil, err
	}
	file, contents, err := snapshot.Open(filepath.Join(a.opts.Paths.Data, "state"), s.log)
	if err != nil {
		return nil, err
	}
	if s.store, err = state.New(a.node.ID, contents.State); err != nil {
		return nil, fmt.Errorf("state on disk: %w", err)
	}
	s.disk = &disk{file: file, peers: contents.Peers}
	a.mu.Lock()
	s.disk.add(a.met)
	a.mu.Unlock()
	if found {
		err = s.put(cluster.SettingsKey, cluster.ClusterSettings{Name: m.Name, Pool: m.Pool})
	}
	if err = errors.Join(err, s.introduce()); err != nil {
		return nil, err
	}
	s.receiver = &rotation.Receiver{Change: s.changeKeys, Ready: s.ready}
	s.peers = peers.New(peers.Config{TLS: s.certificate.Client, Address: s.address})
	s.state = replication.New(replication.Config{
		Store: s.store, Disk: s.disk, Peers: others{s}, MaxBroadcast: gossip.MaxMessage, Compared: s.compared, Log: s.log,
	})
	s.firewall, err = firewall.New(firewall.Config{})
	if err != nil {
		return nil, err
	}
	s.gossip, err = gossip.Start(gossip.Config{
		ID: a.node.ID, Key: m.Keys.Primary.GossipKey(), Other: otherKey(m.Keys), Address: lan.Address, Port: cluster.GossipPort, Name: a.name,
		Log: s.log, Payload: s.state.Payload,
		OnAck: func(peer string, payload []byte, _ time.Duration) { s.state.Acknowledged(peer, payload) },
		Known: s.knownAddresses,
		OnConflict: func(address netip.AddrPort) {
			select {
			case s.claims <- address.Addr():
			default: // one at a time: it is told again
			}
		},
	})
	if err != nil {
		return nil, err
	}
	s.hearing = newHearing(s.present, s.state.Greet, s.members.Set)
	s.reader = view.NewReader(s.store, s.hearing.Members, s.log)
	s.place, s.names, s.images = newPlace(s), &names{log: s.log}, &images{s}
	s.vault = &vault{
		store: s.store,
		write: func(ctx context.Context, key string) error {
			_, err := s.state.Write(ctx, key)
			return err
		},
		secrets: func() []trust.Secret { return a.membership().Keys.Secrets() },
	}
	s.loops()
	s.api = &api.Member{
		Store: s.store, View: s.reader.View, Members: s.members.Subscribe, Images: s.images,
		Tasks: tasks{s}, Peer: s.peers.Patient,
		Token: func() string { return a.membership().Keys.Primary.Token() }, Rotate: s.rotate,
		Forget: s.gossip.Forget, Waiting: s.listWaiting, Seal: s.vault.seal, Open: s.vault.open,
		Upgrades: upgrades{s},
		Invite:   s.invite, MetricsToken: s.metricsToken,
		Write: func(ctx context.Context, keys ...string) (holders, wanted int, err error) {
			held, err := s.state.Write(ctx, keys...)
			return held.Holders, held.Wanted, err
		},
	}
	close(s.opened)
	return s, nil
}

// loops makes the three loops that decide.
func (s *session) loops() {
	leaderWake, _ := s.members.Subscribe() // for the session's life, as the next two
	workerWake, _ := s.members.Subscribe()
	ingressWake, _ := s.members.Subscribe()
	s.leader = leader.New(leader.Config{
		Store: s.store, View: s.reader.View, Publish: s.state.Publish, Members: leaderWake,
		Watchdog: &s.agent.watchdog, Log: s.log,
	})
	s.ingress = ingress.New(ingress.Config{
		Store: s.store, View: s.reader.View, Place: s.place.get, Members: ingressWake, Network: s.agent.network,
		Firewall: s.firewall, Names: s.names, Watchdog: &s.agent.watchdog, Log: s.log,
	})
	s.worker = worker.New(worker.Config{
		Store: s.store, View: s.reader.View, Publish: s.state.Publish, Runtime: s.agent.runtime, Network: s.agent.network,
		Subnet: s.place.subnet, Go: s.going, Members: workerWake, Describe: s.describe, Peer: s.images.peer, Open: s.vault.open,
		Released: s.ingress.Released, ReleasedChanged: s.ingress.ReleasedChanged(), Leaving: s.leaving.Load,
		Watchdog: &s.agent.watchdog, Log: s.log,
	})
}

// run works until ctx ends or the node leaves the cluster.
func (s *session) run(ctx context.Context) error {
	defer s.peers.Close()
	defer s.gossip.Close()
	listener, err := net.Listen("tcp4", netip.AddrPortFrom(s.lan.Address, cluster.NodeAPIPort).String())
	if err != nil {
		return fmt.Errorf("listen for other nodes: %w", err)
	}
	agent := ctx
	group, ctx := errgroup.WithContext(ctx)
	handler := api.New(s.agent, s.log).NodeHandler(api.Offer{
		Exchange: s.state.Receive, Rotate: s.receiver.Take, Secret: s.secrets,
		Removed: s.removed, Current: s.certificate.Current,
		Installed: s.agent.upgrade.Installed, Install: upgrades{s}.take,
		Images: s.agent.runtime.BlobHandler(), Age: func() time.Duration { return time.Since(s.born) },
	})
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: api.ReadHeaderTimeout, IdleTimeout: api.IdleTimeout, MaxHeaderBytes: api.MaxHeaderBytes,
		ConnState: gate.Handshaken,
		ErrorLog:  slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // strangers on the LAN must not fill the log
	}
	group.Go(func() error {
		return serve(ctx, server, tls.NewListener(gate.New(nodeAPILimits).Listener(listener), s.certificate.Server()))
	})
	group.Go(func() error { return s.servePage(ctx) })
	group.Go(func() error { return s.state.Run(ctx) })
	group.Go(func() error { return s.listen(ctx) })
	group.Go(func() error { return s.hearWaiting(ctx) })
	group.Go(func() error { return s.discover(ctx) })
	group.Go(func() error { return s.announce(ctx) })
	group.Go(func() error { return s.followAddress(ctx) })
	group.Go(func() error { return s.lookout(ctx) })
	group.Go(func() error { return s.awaitRemoval(ctx) })
	group.Go(func() error { return s.judgeClaims(ctx) })
	group.Go(func() error { return s.machine.run(ctx, s.worker.ImagesChanged) })
	group.Go(func() error { return s.worker.Run(ctx) })
	group.Go(func() error { return ignoreEnd(ctx, s.agent.runtime.TrimLogs(ctx)) })
	group.Go(func() error { return s.settle(ctx) })
	group.Go(func() error {
		if err := s.agent.runtime.EndCommands(ctx); err != nil { // they end with their containers at the latest
			s.log.Debug("commands in containers may be left", "error", err)
		}
		return nil
	})
	// What needs to know the cluster's wishes waits for them; a restarted agent leaves everything as it is till then.
	group.Go(func() error { return s.after(ctx, s.settled, s.place.run) })
	group.Go(func() error { return s.after(ctx, s.settled, s.leader.Run) })
	group.Go(func() error { return s.after(ctx, s.settled, s.answerNames) })
	group.Go(func() error {
		return s.after(ctx, s.settled, func(ctx context.Context) error { return s.holdVIP(ctx, agent) })
	})
	group.Go(func() error { return s.after(ctx, s.settled, s.ingress.Run) })
	group.Go(func() error {
		return s.after(ctx, s.ingress.Ready(), func(ctx context.Context) error {
			if err := s.agent.runtime.DropFiles(ctx); err != nil { // the next start, or a reboot, takes them away
				s.log.Debug("files of containers that are gone may be left", "error", err)
			}
			close(s.going)
			return s.names.run(ctx, s.place)
		})
	})
	group.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-s.left:
			return errLeft
		case err := <-s.ends:
			if errors.Is(err, errRemoved) {
				if err := s.gossip.Leave(); err != nil {
					s.log.Debug("tell the others that this node goes", "error", err)
				}
			}
			return err
		}
	})
	s.agent.set(func() { s.agent.session = s })
	return group.Wait()
}

// after runs something once the channel is closed.
func (s *session) after(ctx context.Context, ready <-chan struct{}, run func(context.Context) error) error {
	select {
	case <-ctx.Done():
		return nil
	case <-ready:
		return run(ctx)
	}
}

// ignoreEnd drops the error of something that only ended because it was told to.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
