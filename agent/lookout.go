package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/piswarm/piswarm/agent/internal/discovery"
	"github.com/piswarm/piswarm/agent/internal/peers"
	"github.com/piswarm/piswarm/agent/internal/rotation"
	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/pkg/cluster"
)

const (
	// lookEvery is how often a node that holds two secrets, or that has just found itself alone, looks what others go by.
	lookEvery = 5 * time.Second
	// lookSeldom is how often one looks that has been alone for long.
	lookSeldom = time.Minute
	// lookTime bounds one question.
	lookTime = 3 * time.Second
	// looksAtOnce bounds the questions of one look.
	looksAtOnce = 16
)

// strayText is what a node says that was off while the cluster's token was changed.
const strayText = "the token was changed while this node was off: run `piswarm token` on another node, and here " +
	"`piswarm join --token-file -` with what it prints; the containers go on meanwhile"

// unfinishedText is what a node says that holds two secrets and hears nothing of who changes them.
const unfinishedText = "a change of the token is unfinished, and the old one holds as well: run `piswarm token rotate`"

// secretWarnings are what people should know of this node's secrets.
func (s *session) secretWarnings() []string {
	switch {
	case s.strayed.Load():
		return []string{strayText}
	case s.agent.membership().Keys.Moving() && s.receiver.Driver() == "":
		return []string{unfinishedText}
	}
	return nil
}

// lookout looks what others go by, while this node holds two secrets and no driver tells it what to do, and while it
// is alone: it may have missed a change of the secret, or its end.
func (s *session) lookout(ctx context.Context) error {
	for pause := lookEvery; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause - time.Duration(rand.Int64N(int64(pause/4)))):
		}
		alone := len(others{s}.Ready()) == 0
		moving := s.agent.membership().Keys.Moving() && s.receiver.Driver() == ""
		if !alone && s.strayed.CompareAndSwap(true, false) {
			s.members.Set()
		}
		pause = lookEvery
		if alone && !moving {
			pause = min(pause*3/2, lookSeldom)
		}
		if !alone && !moving {
			continue
		}
		addresses := append(s.knownAddresses(), s.hints.addresses()...)
		if moving {
			for _, id := range (others{s}).Ready() {
				if a, ok := s.address(id); ok {
					addresses = append(addresses, a)
				}
			}
		}
		for i := range addresses {
			addresses[i] = netip.AddrPortFrom(addresses[i].Addr(), cluster.NodeAPIPort)
		}
		slices.SortFunc(addresses, netip.AddrPort.Compare)
		addresses = slices.Compact(addresses)
		rand.Shuffle(len(addresses), func(i, j int) { addresses[i], addresses[j] = addresses[j], addresses[i] })
		for _, address := range addresses[:min(len(addresses), looksAtOnce)] {
			if address.Addr() != s.lan.Address {
				s.look(ctx, address, alone)
			}
		}
	}
}

// look asks one node what it goes by.
func (s *session) look(ctx context.Context, address netip.AddrPort, alone bool) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	seen, err := askSecret(ctx, address, s.certificate)
	switch {
	case err == nil:
		if s.receiver.Driver() != "" {
			return
		}
		if k := s.agent.membership().Keys; k.Moving() && !k.Coming {
			// The former may be about to go: what was sealed with it here, while this node was cut off, is to be read later.
			if err := s.vault.reseal(ctx); err != nil {
				s.log.Warn("some secrets stay sealed with the former token", "error", err)
			}
		}
		if _, err := s.changeKeys(func(k trust.Keyring) (trust.Keyring, error) { return rotation.Follow(k, seen), nil }); err != nil {
			s.log.Warn("follow a change of the token", "error", err)
		}
	case errors.Is(err, peers.ErrRemoved):
		s.banished()
	case alone && errors.Is(err, peers.ErrStranger) && (s.hints.had(address.Addr()) || knows(s.reader.View(), peers.Claimed(err))):
		if s.strayed.CompareAndSwap(false, true) {
			s.log.Warn(strayText)
			s.members.Set()
		}
	}
}

// hints are where a node announces that its cluster had this one's public ID before. Anyone can say so: it is a reason to
// look there, while this node is alone, and to tell people, and no more.
type hints struct {
	mu  sync.Mutex
	all map[netip.Addr]bool // in memory, and no more than maxHints
}

const maxHints = 16

// hint notes what a node of another cluster announces, if it is about this node's.
func (s *session) hint(f discovery.Found) {
	for _, secret := range s.agent.membership().Keys.Secrets() {
		if f.Formerly(secret.ClusterID()) {
			s.hints.add(f.Address.Addr())
		}
	}
}

func (h *hints) add(address netip.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil || len(h.all) >= maxHints {
		h.all = map[netip.Addr]bool{}
	}
	h.all[address] = true
}

func (h *hints) had(address netip.Addr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all[address]
}

// addresses are those noted.
func (h *hints) addresses() (all []netip.AddrPort) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for a := range h.all {
		all = append(all, netip.AddrPortFrom(a, cluster.NodeAPIPort))
	}
	return all
}
