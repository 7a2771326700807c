package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/piswarm/piswarm/agent/internal/api"
	"github.com/piswarm/piswarm/agent/internal/discovery"
	"github.com/piswarm/piswarm/agent/internal/peers"
	"github.com/piswarm/piswarm/agent/internal/snapshot"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// A card that is copied after its first boot makes a second node of the same ID. Two nodes that write records as
// one would break what the replicated state rests on, so the second takes a new identity:
//
//   - at the start of its agent, if the hardware is not what the identity was made on (open);
//   - after a boot, before it says a word to the cluster, if mDNS finds a node of its ID that is up (greetTwin);
//   - later, if both came up at the same moment (meet).
//
// mDNS is only a hint: the other has to prove the ID with a certificate that is not this node's own.

// errTwin ends a session whose identity another node has the better right to.
var errTwin = errors.New("another node has this one's ID")

const (
	// twinTime bounds the question whether another node has this one's ID. Answers to mDNS come within 120 ms
	// (RFC 6762, 6).
	twinTime = 700 * time.Millisecond
	// twinTie is how much older one of two twins must be for that to count.
	twinTie = time.Second
	// livedFile lies where a boot clears it away.
	livedFile = "lived"
	// maxAge is the longest answer to the question for the age, in bytes.
	maxAge = 64
)

// greetTwin looks for a node that is up under this one's ID. It does so once after a boot, which is when a copied
// card starts its life: a restarted agent loses no time with it.
func (s *session) greetTwin(ctx context.Context) error {
	if !s.agent.firstLife {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, twinTime)
	defer cancel()
	found := false
	err := discovery.Look(ctx, s.lan.Interface, func(f discovery.Found) {
		if !found && f.ID == s.agent.node.ID && s.ours(f.Cluster) {
			// One that is up is older, whatever it says.
			_, found = s.twin(ctx, f.Address.Addr())
		}
	})
	if found {
		return errTwin
	}
	if err == nil {
		s.agent.firstLife = false
		err = os.WriteFile(filepath.Join(s.agent.opts.Paths.Run, livedFile), nil, 0o600)
	}
	if err != nil {
		s.log.Debug("look for a node of this one's ID", "error", err)
	}
	return nil // a LAN without mDNS has other troubles, and says so when others are looked for
}

// judgeClaims deals with the nodes that the gossip hears of under an ID that a member has already.
func (s *session) judgeClaims(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case address := <-s.claims:
			s.log.Warn("two nodes go by one ID: if a card was copied, the later one takes a new identity by itself", "address", address)
			s.meet(ctx, address)
		}
	}
}

// meet deals with a node that was found under this one's ID at another address. The younger of the two yields.
func (s *session) meet(ctx context.Context, address netip.Addr) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	other, ok := s.twin(ctx, address)
	if !ok {
		return
	}
	if !yields(time.Since(s.born), s.certificate.Certificate(), other) {
		s.log.Warn("a node with a copy of this one's card is on the network: it is to take a new identity", "address", address)
		return
	}
	select {
	case s.ends <- errTwin:
	default:
	}
}

// twin is another node under this one's ID.
type twin struct {
	age         time.Duration
	certificate []byte
}

// twin asks the node at an address whether it is another one under this one's ID.
func (s *session) twin(ctx context.Context, address netip.Addr) (twin, bool) {
	if address == s.lan.Address || local(address) {
		return twin{}, false
	}
	answer, certificate, err := peers.Ask(ctx, netip.AddrPortFrom(address, cluster.NodeAPIPort),
		s.certificate.Client(s.agent.node.ID), api.AgePath, maxAge)
	if err != nil {
		s.log.Debug("a node of this one's ID was announced and does not prove it", "address", address, "error", err)
		return twin{}, false
	}
	if s.certificate.Shows(certificate) {
		return twin{}, false // this node itself, by an address that it has had
	}
	seconds, err := strconv.ParseFloat(string(answer), 64)
	if err != nil {
		return twin{}, false
	}
	return twin{age: time.Duration(seconds * float64(time.Second)), certificate: certificate.Raw}, true
}

// yields tells whether a node of that age gives its ID up to the other. Both come to opposite answers.
func yields(age time.Duration, certificate []byte, other twin) bool {
	switch d := other.age - age; {
	case d > twinTie:
		return true
	case d < -twinTie:
		return false
	}
	return bytes.Compare(certificate, other.certificate) > 0
}

// local tells whether the address is one of this machine's.
func local(address netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Unmap() == address {
			return true
		}
	}
	return false
}

// renew makes this node another one than it was: a stranger to the cluster, as far as the state goes, that knows
// what its card knows.
func (a *Agent) renew(why string) error {
	// The state first: cut off in between, the next start does all of it again.
	file, contents, err := snapshot.Open(filepath.Join(a.opts.Paths.Data, "state"), a.log)
	if err != nil {
		return err
	}
	if contents.State.Joined {
		contents.State.Joined, contents.State.Since = false, contents.State.Clock
		if err := file.Save(contents); err != nil {
			return err
		}
	}
	former := a.node.ID
	node, err := a.dir.NewNode()
	if err != nil {
		return err
	}
	a.mu.Lock() // people may ask for the version just now
	a.node = node
	a.mu.Unlock()
	a.notice = fmt.Sprintf("%s: this node was %s and is %s now; if the other one is gone for good, remove it", why, former, a.node.ID)
	a.log.Warn(a.notice)
	return nil
}
