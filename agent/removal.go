package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/piswarm/piswarm/agent/internal/identity"
	"github.com/piswarm/piswarm/agent/internal/peers"
	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

var (
	// errRemoved ends the session of a node that was removed from its cluster.
	errRemoved = errors.New("removed from the cluster")
	// errRekeyed ends a session whose node goes by another secret from now on.
	errRekeyed = errors.New("another token")
)

// removed tells whether a node was removed from the cluster.
func (s *session) removed(node string) bool {
	_, ok := s.store.Get(cluster.RemovedKey(node))
	return ok
}

// awaitRemoval ends the session when the cluster's state says that this node was removed. Members that it cannot
// exchange with any more say so themselves (others.Exchange).
func (s *session) awaitRemoval(ctx context.Context) error {
	dirty, cancel := s.store.Watch(state.Kinds(cluster.KindRemoved))
	defer cancel()
	for {
		if s.removed(s.store.Self()) {
			s.banished()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-dirty:
		}
	}
}

// banished ends the session of a node that has learned that it was removed.
func (s *session) banished() {
	s.parted.Store(true)
	select {
	case s.ends <- errRemoved:
	default:
	}
}

// banish takes everything of the cluster off this machine, and makes this node another one than it was.
func (a *Agent) banish(ctx context.Context) error {
	former, name := a.node.ID, a.membership().Name
	a.log.Warn("this node was removed from its cluster with `piswarm node rm`: it takes everything of it off this machine; "+
		"with the token it can join again, as a new node", "cluster", name, "node", former)
	if err := a.clear(ctx); err != nil {
		return err
	}
	return a.another()
}

// another makes this node another one than it was. It is in no cluster.
func (a *Agent) another() error {
	node, err := a.dir.NewNode()
	if err == nil {
		a.set(func() { a.node = node })
	}
	return err
}

// rejoin takes a newer token of the cluster that this node is in already: it was off while the token was changed. The
// node stays who it is, with its state and its containers.
func (a *Agent) rejoin(ctx context.Context, m identity.Membership, secret trust.Secret, addresses []string) error {
	if m.Keys.Primary.Equal(secret) {
		return inCluster(m)
	}
	state, err := a.find(ctx, secret, addresses)
	switch {
	case errors.Is(err, peers.ErrRemoved):
		return fmt.Errorf("this node was removed from the token's cluster: `piswarm leave` first, then it joins as a new node")
	case err != nil:
		return fmt.Errorf("%w; if the token is a newer one of the same cluster: %w", inCluster(m), err)
	case !related(m, state.Former):
		return inCluster(m)
	}
	a.mu.Lock()
	old := a.session
	a.mu.Unlock()
	if _, err := a.change(func(m identity.Membership) (identity.Membership, error) {
		return m.With(trust.Keyring{Primary: secret}), nil
	}); err != nil {
		return err
	}
	if old != nil {
		select {
		case old.ends <- errRekeyed:
		default: // it ends for another reason, and the next one goes by the new token
		}
	}
	ctx, cancel := context.WithTimeout(ctx, upLimit)
	defer cancel()
	if err := a.await(ctx, func() bool { return a.session != nil && a.session != old }); err != nil {
		return errors.New("the node goes by the new token, but is not up again yet: see the agent's log")
	}
	return nil
}

// related tells whether a cluster with those former public IDs is the one that this node is in: it had one of the
// secrets that this node has, or both come from one that had.
func related(m identity.Membership, former []string) bool {
	for _, id := range former {
		for _, s := range m.Keys.Secrets() {
			if s.ClusterID() == id {
				return true
			}
		}
		for _, own := range m.Former {
			if own == id {
				return true
			}
		}
	}
	return false
}
