package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/piswarm/piswarm/agent/internal/api"
	"github.com/piswarm/piswarm/agent/internal/identity"
	"github.com/piswarm/piswarm/agent/internal/peers"
	"github.com/piswarm/piswarm/agent/internal/rotation"
	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// changeKeys goes by another keyring: on disk first, then for the certificates, the gossip, and connections to come.
func (s *session) changeKeys(turn func(trust.Keyring) (trust.Keyring, error)) (trust.Keyring, error) {
	s.keying.Lock()
	defer s.keying.Unlock()
	var before trust.Keyring
	m, err := s.agent.change(func(m identity.Membership) (identity.Membership, error) {
		before = m.Keys
		k, err := turn(m.Keys)
		return m.With(k), err
	})
	if err != nil || m.Keys == before {
		return m.Keys, err
	}
	if err := s.certificate.Set(m.Keys); err != nil {
		return m.Keys, err
	}
	if err := s.gossip.SetKeys(m.Keys.Primary.GossipKey(), otherKey(m.Keys)); err != nil {
		return m.Keys, err
	}
	s.peers.Renew()
	if !m.Keys.Primary.Equal(before.Primary) {
		s.log.Info("the cluster's token was changed", "old", before.Primary.ClusterID(), "new", m.Keys.Primary.ClusterID())
	}
	s.rekeyed.Set()
	return m.Keys, nil
}

// otherKey is the gossip key of the secret that is accepted besides, nil if there is none.
func otherKey(k trust.Keyring) []byte {
	if !k.Moving() {
		return nil
	}
	return k.Other.GossipKey()
}

// secrets says which secrets hold, by their public names.
func (s *session) secrets() rotation.State {
	m := s.agent.membership()
	state := rotation.StateOf(m.Keys)
	state.Former = slices.Concat(m.Former, s.reader.View().Cluster.Former)
	slices.Sort(state.Former)
	state.Former = slices.Compact(state.Former)
	return state
}

// rotate moves the cluster to a new secret, with this node as the driver.
func (s *session) rotate(ctx context.Context, tell func(string)) (client.Rotation, error) {
	if !s.rotating.TryLock() {
		return client.Rotation{}, errors.New("this node is changing the token just now: wait until it is done")
	}
	defer s.rotating.Unlock()
	self := s.store.Self()
	nodes := func(want func(cluster.Condition) bool) func() []rotation.Node {
		return func() []rotation.Node {
			var all []rotation.Node
			for _, m := range s.reader.View().Members {
				if want(m.Condition) {
					all = append(all, rotation.Node{ID: m.ID, Name: orDefault(m.Name, m.ID)})
				}
			}
			return all
		}
	}
	driver := rotation.Driver{
		Self: self, Keys: func() trust.Keyring { return s.agent.membership().Keys },
		Ready:  nodes(func(c cluster.Condition) bool { return c == cluster.Ready }),
		Away:   nodes(func(c cluster.Condition) bool { return c == cluster.Down }),
		Send:   s.sendStep,
		Settle: s.settleKeys,
		Tell:   tell,
	}
	end, err := driver.Rotate(ctx)
	if err != nil {
		return client.Rotation{}, err
	}
	return client.Rotation{
		Token: end.Secret.Token(), Nodes: nodeNames(end.Changed), Missing: nodeNames(end.Missing), Behind: nodeNames(end.Behind),
	}, nil
}

func nodeNames(nodes []rotation.Node) []string {
	all := make([]string, 0, len(nodes))
	for _, n := range nodes {
		all = append(all, n.Name)
	}
	return all
}

// sendStep has a node take a step of a rotation.
func (s *session) sendStep(ctx context.Context, node string, step rotation.Step) (rotation.State, error) {
	if node == s.store.Self() {
		state, err := s.receiver.Take(node, step)
		if err != nil {
			err = fmt.Errorf("%w: %w", rotation.ErrRefused, err)
		}
		return state, err
	}
	raw, err := json.Marshal(step)
	if err != nil {
		return rotation.State{}, err
	}
	answer, err := s.peers.Post(ctx, node, api.RotationPath, raw, api.MaxStep)
	if peers.Refused(err) {
		return rotation.State{}, fmt.Errorf("%w: %w", rotation.ErrRefused, err)
	} else if err != nil {
		return rotation.State{}, err
	}
	var state rotation.State
	return state, json.Unmarshal(answer, &state)
}

// settleKeys makes what the cluster holds fit for the time without the former secret.
func (s *session) settleKeys(ctx context.Context, now trust.Keyring) error {
	if now.Moving() && !now.Coming {
		if err := s.rememberFormer(now.Other.ClusterID()); err != nil {
			return err
		}
		if _, err := s.state.Write(ctx, cluster.SettingsKey); err != nil {
			return err
		}
	}
	return s.vault.reseal(ctx)
}

// maxFormer bounds what the cluster remembers of its former secrets: their public IDs, which let a node that was off
// for that long come back as who it was.
const maxFormer = 16

// rememberFormer notes that the cluster had that public ID.
func (s *session) rememberFormer(id string) error {
	for {
		settings := s.reader.View().Cluster
		record, ok := s.store.Get(cluster.SettingsKey)
		if ok {
			if err := json.Unmarshal(record.Value, &settings); err != nil {
				return fmt.Errorf("the cluster's settings: %w", err)
			}
		} else {
			m := s.agent.membership()
			settings.Name, settings.Pool = m.Name, m.Pool
		}
		if slices.Contains(settings.Former, id) {
			return nil
		}
		settings.Former = append(slices.Clone(settings.Former), id)
		settings.Former = settings.Former[max(0, len(settings.Former)-maxFormer):]
		raw, err := json.Marshal(settings)
		if err != nil {
			return err
		}
		if _, err := s.store.PutIf(cluster.SettingsKey, record.Version, raw); !errors.Is(err, state.ErrConflict) {
			return err
		}
	}
}

// knows tells whether a node is known to the cluster.
func knows(v view.View, id string) bool {
	_, ok := v.Settings[id]
	return ok && id != v.Self
}
