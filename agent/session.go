package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/piswarm/piswarm/agent/internal/api"
	"github.com/piswarm/piswarm/agent/internal/discovery"
	"github.com/piswarm/piswarm/agent/internal/firewall"
	"github.com/piswarm/piswarm/agent/internal/gossip"
	"github.com/piswarm/piswarm/agent/internal/identity"
	"github.com/piswarm/piswarm/agent/internal/ingress"
	"github.com/piswarm/piswarm/agent/internal/leader"
	"github.com/piswarm/piswarm/agent/internal/loop"
	"github.com/piswarm/piswarm/agent/internal/network"
	"github.com/piswarm/piswarm/agent/internal/peers"
	"github.com/piswarm/piswarm/agent/internal/replication"
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
	membership  identity.Membership
	certificate *trust.Identity
	machine     *machine

	store   *state.Store
	disk    *disk
	gossip  *gossip.Gossip
	peers   *peers.Peers
	state   *replication.Replicator
	reader  *view.Reader
	members loop.Hub // woken when the membership or this node's place in the network changes
	place   *place
	names   *names
	images  *images
	api     *api.Member

	leader  *leader.Leader
	worker  *worker.Worker
	ingress *ingress.Ingress

	settled chan struct{} // closed when what the cluster wants is known as well as it can be
	going   chan struct{} // closed when containers may be started
	left    chan struct{} // closed by farewell
}

var errLeft = errors.New("left the cluster")

// serveMembership runs the node as a member until ctx ends or it leaves. An error is for the agent to end with.
func (a *Agent) serveMembership(ctx context.Context, m identity.Membership, found bool) error {
	lan, err := a.awaitLAN(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	s, err := a.openSession(m, lan, found)
	if err != nil {
		return err
	}
	err = s.run(ctx)
	a.set(func() { a.session = nil })
	if errors.Is(err, errLeft) {
		return a.clear(ctx)
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
func (a *Agent) openSession(m identity.Membership, lan network.LAN, found bool) (*session, error) {
	s := &session{
		agent: a, log: a.log.With("node", a.name), lan: lan, membership: m, machine: newMachine(a.runtime, a.name),
		settled: make(chan struct{}), going: make(chan struct{}), left: make(chan struct{}),
	}
	file, contents, err := snapshot.Open(filepath.Join(a.opts.Paths.Data, "state"), s.log)
	if err != nil {
		return nil, err
	}
	if s.store, err = state.New(a.node.ID, contents.State); err != nil {
		return nil, fmt.Errorf("state on disk: %w", err)
	}
	s.disk = &disk{file: file, peers: contents.Peers}
	if found {
		err = s.put(cluster.SettingsKey, cluster.ClusterSettings{Name: m.Name, Pool: m.Pool})
	}
	if err = errors.Join(err, s.introduce()); err != nil {
		return nil, err
	}
	if s.certificate, err = trust.NewIdentity(m.Secret, a.node.ID); err != nil {
		return nil, err
	}
	s.peers = peers.New(peers.Config{TLS: s.certificate.Client, Address: s.address})
	s.state = replication.New(replication.Config{
		Store: s.store, Disk: s.disk, Peers: others{s}, MaxBroadcast: gossip.MaxMessage, Log: s.log,
	})
	filter, err := firewall.New(firewall.Config{})
	if err != nil {
		return nil, err
	}
	s.gossip, err = gossip.Start(gossip.Config{
		ID: a.node.ID, Key: m.Secret.GossipKey(), Address: lan.Address, Port: cluster.GossipPort, Name: a.name,
		Log: s.log, Payload: s.state.Payload,
		OnAck: func(peer string, payload []byte, _ time.Duration) { s.state.Acknowledged(peer, payload) },
	})
	if err != nil {
		return nil, err
	}
	s.reader = view.NewReader(s.store, s.gossip.Members, s.log)
	s.place, s.names, s.images = newPlace(s), &names{log: s.log}, &images{s}
	s.loops(filter)
	s.api = &api.Member{
		Store: s.store, View: s.reader.View, Members: s.members.Subscribe, Images: s.images, Token: m.Secret.Token(),
		Write: func(ctx context.Context, keys ...string) (holders, wanted int, err error) {
			held, err := s.state.Write(ctx, keys...)
			return held.Holders, held.Wanted, err
		},
	}
	return s, nil
}

// loops makes the three loops that decide.
func (s *session) loops(filter *firewall.Firewall) {
	leaderWake, _ := s.members.Subscribe() // for the session's life, as the next two
	workerWake, _ := s.members.Subscribe()
	ingressWake, _ := s.members.Subscribe()
	s.leader = leader.New(leader.Config{
		Store: s.store, View: s.reader.View, Publish: s.state.Publish, Members: leaderWake, Log: s.log,
	})
	s.worker = worker.New(worker.Config{
		Store: s.store, View: s.reader.View, Publish: s.state.Publish, Runtime: s.agent.runtime, Network: s.agent.network,
		Subnet: s.place.subnet, Go: s.going, Members: workerWake, Describe: s.describe, Peer: s.images.peer, Log: s.log,
	})
	s.ingress = ingress.New(ingress.Config{
		Store: s.store, View: s.reader.View, Place: s.place.get, Members: ingressWake, Network: s.agent.network,
		Firewall: filter, Names: s.names, Log: s.log,
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
	group, ctx := errgroup.WithContext(ctx)
	handler := api.New(s.agent, s.log).NodeHandler(s.state.Receive, s.agent.runtime.BlobHandler())
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: api.ReadHeaderTimeout, IdleTimeout: api.IdleTimeout, MaxHeaderBytes: api.MaxHeaderBytes,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // strangers on the LAN must not fill the log
	}
	group.Go(func() error { return serve(ctx, server, tls.NewListener(listener, s.certificate.Server())) })
	group.Go(func() error { return s.state.Run(ctx) })
	group.Go(func() error { return s.listen(ctx) })
	group.Go(func() error { return s.discover(ctx) })
	group.Go(func() error { return s.machine.run(ctx, s.worker.ImagesChanged) })
	group.Go(func() error { return s.worker.Run(ctx) })
	group.Go(func() error { return ignoreEnd(ctx, s.agent.runtime.TrimLogs(ctx)) })
	group.Go(func() error { return s.settle(ctx) })
	// What needs to know the cluster's wishes waits for them; a restarted agent leaves everything as it is till then.
	group.Go(func() error { return s.after(ctx, s.settled, s.place.run) })
	group.Go(func() error { return s.after(ctx, s.settled, s.leader.Run) })
	group.Go(func() error { return s.after(ctx, s.settled, s.ingress.Run) })
	group.Go(func() error {
		return s.after(ctx, s.ingress.Ready(), func(ctx context.Context) error {
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

// listen takes in what the gossip brings.
func (s *session) listen(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case message := <-s.gossip.Messages():
			s.state.Heard(message)
		case <-s.gossip.Changed():
			s.disk.remember(s.gossip.Members())
			s.members.Set()
		}
	}
}

// discover joins the nodes that the disk remembers, and then those that mDNS finds, for as long as the node lives.
func (s *session) discover(ctx context.Context) error {
	announcement, err := discovery.Announce(discovery.Self{
		Found: discovery.Found{
			ID: s.store.Self(), Cluster: s.membership.Secret.ClusterID(),
			Address: netip.AddrPortFrom(s.lan.Address, cluster.GossipPort),
		},
		Interface: s.lan.Interface,
	})
	if err != nil {
		s.log.Warn("others cannot find this node", "error", err)
	} else {
		defer announcement.Close()
	}
	for _, address := range s.disk.addresses() {
		if ctx.Err() != nil {
			return nil
		}
		s.join(address)
	}
	alone := func() bool { return len(others{s}.Ready()) == 0 }
	discovery.Watch(ctx, s.lan.Interface, alone, s.log, func(f discovery.Found) {
		if f.ID == s.store.Self() || f.Cluster != s.membership.Secret.ClusterID() {
			return
		}
		for _, id := range (others{s}).Ready() {
			if id == f.ID {
				return
			}
		}
		s.join(f.Address)
	})
	return nil
}

// join contacts a node. It may well be gone: that is no more than a line for the curious.
func (s *session) join(address netip.AddrPort) {
	if _, err := s.gossip.Join([]netip.AddrPort{address}); err != nil {
		s.log.Debug("join", "address", address, "error", err)
		return
	}
	for _, id := range (others{s}).Ready() {
		s.state.Greet(id)
	}
}

const (
	// aloneAfter is how long a node that finds nobody waits before it takes itself for the whole cluster.
	aloneAfter = 6 * time.Second
	// syncLimit is how long it waits for the state of those it has found.
	syncLimit = 15 * time.Second
)

// settle waits until what the cluster wants is known as well as it can be.
func (s *session) settle(ctx context.Context) error {
	limit := time.NewTimer(syncLimit)
	defer limit.Stop()
	alone := time.NewTimer(aloneAfter)
	defer alone.Stop()
	for waiting := true; waiting; {
		select {
		case <-ctx.Done():
			return nil
		case <-s.state.Synced():
			waiting = false
		case <-limit.C:
			s.log.Warn("no other node has told its state in time: going by what this one knows")
			waiting = false
		case <-alone.C:
			waiting = len(others{s}.Ready()) > 0
		}
	}
	// The others go by this node's former report until it makes a new one.
	select {
	case <-ctx.Done():
		return nil
	case <-s.worker.Reported():
	case <-limit.C:
	}
	if err := s.place.choose(); err != nil {
		return err
	}
	close(s.settled)
	return nil
}

// introduce makes this node a known one, with what its configuration says at its first start.
func (s *session) introduce() error {
	key := cluster.NodeKey(s.store.Self())
	settings := cluster.Settings{
		Name: s.agent.name, Availability: cluster.Active, Role: cluster.Manager, Labels: s.agent.cfg.Labels,
	}
	if record, ok := s.store.Get(key); ok {
		var known cluster.Settings
		if err := json.Unmarshal(record.Value, &known); err == nil {
			if known.Name == s.agent.name {
				return nil
			}
			known.Name = s.agent.name // the host name was changed
			settings = known
		}
	}
	return s.put(key, settings)
}

// put writes a record that is this node's own to write.
func (s *session) put(key string, value any) error {
	raw, err := json.Marshal(value)
	if err == nil {
		_, err = s.store.Put(key, raw)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

// farewell tells the others that this node goes for good.
func (s *session) farewell(ctx context.Context) error {
	node, report := cluster.NodeKey(s.store.Self()), cluster.ReportKey(s.store.Self())
	for _, key := range []string{node, report} {
		if _, _, err := s.store.Delete(key); err != nil {
			return err
		}
	}
	if _, err := s.state.Write(ctx, node, report); err != nil {
		return err
	}
	if err := s.gossip.Leave(); err != nil {
		s.log.Warn("the others were not told that this node leaves; they will notice", "error", err)
	}
	close(s.left)
	return nil
}

// clear takes everything of a cluster that was left off this machine.
func (a *Agent) clear(ctx context.Context) error {
	err := errors.Join(clean(ctx, a.runtime, a.network), os.RemoveAll(filepath.Join(a.opts.Paths.Data, "state")))
	a.node.Subnet = 0
	err = errors.Join(err, a.dir.SaveNode(a.node), a.dir.ForgetMembership())
	if a.cfg.Token != "" {
		a.log.Warn("the token is still in the configuration: the next start of the agent joins again", "file", a.opts.Paths.Config)
	}
	a.set(func() { a.member, a.found = nil, false })
	return err
}
