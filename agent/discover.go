package agent

import (
	"context"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	"github.com/piswarm/piswarm/agent/internal/discovery"
	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// listen takes in what the gossip brings.
func (s *session) listen(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case message := <-s.gossip.Messages():
			s.state.Heard(message)
		case <-s.gossip.Changed():
			s.disk.remember(s.present())
			s.members.Set()
		}
	}
}

// compared is told that this node holds all that a peer does.
func (s *session) compared(peer string) {
	select {
	case <-s.opened:
	default:
		return // the gossip runs already, and the session is not whole yet
	}
	if s.hearing.Heard(peer) {
		s.members.Set()
	}
}

// announce tells the LAN that this node is here, by the public ID of the secret that it goes by.
func (s *session) announce(ctx context.Context) error {
	rekeyed, cancel := s.rekeyed.Subscribe()
	defer cancel()
	life := s.life()
	self := func() discovery.Self {
		secrets := s.secrets()
		return discovery.Self{
			Found: discovery.Found{
				ID: s.store.Self(), Cluster: secrets.Primary, Was: strings.Join(secrets.Former[max(0, len(secrets.Former)-maxFormer):], ","),
				Address: netip.AddrPortFrom(s.lan.Address, cluster.GossipPort),
			},
			Interface: s.lan.Interface, Life: life,
		}
	}
	for ctx.Err() == nil {
		said := self()
		announcement, err := discovery.Announce(said)
		if err != nil {
			s.log.Warn("others cannot find this node", "error", err)
		}
		for ctx.Err() == nil && said == self() {
			select {
			case <-ctx.Done():
			case <-rekeyed:
			}
		}
		if err == nil {
			announcement.Close()
		}
	}
	return nil
}

// ours tells whether a cluster's public ID is of a secret that this node goes by or accepts.
func (s *session) ours(clusterID string) bool {
	return slices.ContainsFunc(s.agent.membership().Keys.Secrets(), func(k trust.Secret) bool { return k.ClusterID() == clusterID })
}

// discover joins the nodes that the disk remembers, and then those that mDNS finds, for as long as the node lives.
func (s *session) discover(ctx context.Context) error {
	for _, address := range s.disk.addresses() {
		if ctx.Err() != nil {
			return nil
		}
		s.join(address)
	}
	alone := func() bool { return len(others{s}.Ready()) == 0 }
	pods := func() netip.Prefix { return s.place.get().Pool.Prefix() }
	nodes, twins := newProposals(proposalsAtOnce, pods, s.knock), newProposals(1, pods, s.meet)
	defer nodes.work.Wait()
	defer twins.work.Wait()
	discovery.Watch(ctx, s.lan.Interface, alone, s.log, func(f discovery.Found) {
		if !s.ours(f.Cluster) {
			s.hint(f)
			return
		}
		if f.ID == s.store.Self() {
			twins.add(ctx, f.Address.Addr())
			return
		}
		for _, id := range (others{s}).Ready() {
			if id == f.ID {
				return
			}
		}
		nodes.add(ctx, f.Address.Addr())
	})
	return nil
}

// life is a name for this life of the node.
func (s *session) life() string { return hex.EncodeToString(s.certificate.Certificate()[:4]) }

// join contacts a node. It may well be gone: that is no more than a line for the curious.
func (s *session) join(address netip.AddrPort) {
	if _, err := s.gossip.Join([]netip.AddrPort{address}); err != nil {
		s.log.Debug("join", "address", address, "error", err)
		return
	}
	s.greet()
}

// knock joins the node at an address if it proves with a packet that it is a member: to connect to one that is not takes
// seconds, and such addresses are cheap to make up.
func (s *session) knock(ctx context.Context, address netip.Addr) {
	if s.gossip.Knock(ctx, netip.AddrPortFrom(address, cluster.GossipPort)) {
		s.greet()
	}
}

// greet compares the state with all that are ready.
func (s *session) greet() {
	for _, id := range (others{s}).Ready() {
		s.state.Greet(id)
	}
}

// knownAddresses are those at which the gossip may look for members that it does not know: what the disk remembers,
// and what the nodes last said of themselves.
func (s *session) knownAddresses() []netip.AddrPort {
	select {
	case <-s.opened:
	default:
		return nil // the gossip runs already, and the session is not whole yet
	}
	all := s.disk.addresses()
	for id, report := range s.reader.View().Reports {
		if a, err := netip.ParseAddr(report.Node.Address); err == nil && id != s.store.Self() {
			all = append(all, netip.AddrPortFrom(a, cluster.GossipPort))
		}
	}
	slices.SortFunc(all, netip.AddrPort.Compare)
	return slices.Compact(all)
}
