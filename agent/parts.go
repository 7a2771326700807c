package agent

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/piswarm/piswarm/agent/internal/api"
	"github.com/piswarm/piswarm/agent/internal/peers"
	"github.com/piswarm/piswarm/agent/internal/snapshot"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// others are the other members, as the replication wants them.
type others struct{ s *session }

// Ready returns the IDs of the other ready members.
func (o others) Ready() []string {
	var ids []string
	for _, m := range o.s.present() {
		if m.Condition == cluster.Ready && m.ID != o.s.store.Self() {
			ids = append(ids, m.ID)
		}
	}
	return ids
}

// Exchange hands a message to a peer.
func (o others) Exchange(ctx context.Context, peer string, message []byte) ([]byte, error) {
	answer, err := o.s.peers.Post(ctx, peer, api.ExchangePath, message, state.MaxMessage)
	if errors.Is(err, peers.ErrRemoved) {
		o.s.banished()
	}
	return answer, err
}

// Broadcast gossips.
func (o others) Broadcast(message []byte) error { return o.s.gossip.Broadcast(message) }

// address is where a member's node API is. Of one that the gossip does not know it is where it last said to be.
func (s *session) address(node string) (netip.AddrPort, bool) {
	for _, m := range s.present() {
		if m.ID == node {
			return netip.AddrPortFrom(m.Address, cluster.NodeAPIPort), m.Address.IsValid()
		}
	}
	address, err := netip.ParseAddr(s.reader.View().Reports[node].Node.Address)
	return netip.AddrPortFrom(address, cluster.NodeAPIPort), err == nil
}

// present are the members without those that were removed from the cluster, whatever the gossip says of them.
func (s *session) present() []cluster.Member {
	return slices.DeleteFunc(s.gossip.Members(), func(m cluster.Member) bool { return s.removed(m.ID) })
}

// ready tells whether a node is a ready member.
func (s *session) ready(node string) bool {
	return slices.ContainsFunc(s.present(), func(m cluster.Member) bool { return m.ID == node && m.Condition == cluster.Ready })
}

// disk is the state file, with the addresses of the members in it: where to look for them after a restart, also
// where mDNS does not reach.
type disk struct {
	file *snapshot.File

	mu    sync.Mutex
	peers []string
}

// maxRemembered bounds the addresses kept; a node needs one that answers.
const maxRemembered = 64

// Save puts the state on disk.
func (d *disk) Save(s state.Snapshot) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.file.Save(snapshot.Contents{State: s, Peers: d.peers})
}

// remember keeps the addresses of the members. They go to disk with the next save: what was known before is good
// enough until then.
func (d *disk) remember(members []cluster.Member) {
	var addresses []string
	for _, m := range members {
		if m.Address.IsValid() && m.Condition != cluster.Left && len(addresses) < maxRemembered {
			addresses = append(addresses, netip.AddrPortFrom(m.Address, cluster.GossipPort).String())
		}
	}
	slices.Sort(addresses)
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(addresses) > 1 || len(d.peers) == 0 { // one that is alone for a while does not forget the others
		d.peers = addresses
	}
}

// add remembers one more, if it is one.
func (d *disk) add(member netip.Addr) {
	d.mu.Lock()
	defer d.mu.Unlock()
	text := netip.AddrPortFrom(member, cluster.GossipPort).String()
	if member.IsValid() && !slices.Contains(d.peers, text) {
		d.peers = append([]string{text}, d.peers[:min(len(d.peers), maxRemembered-1)]...)
	}
}

// addresses are those remembered.
func (d *disk) addresses() []netip.AddrPort {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []netip.AddrPort
	for _, text := range d.peers {
		if a, err := netip.ParseAddrPort(strings.TrimSpace(text)); err == nil {
			all = append(all, a)
		}
	}
	return all
}
