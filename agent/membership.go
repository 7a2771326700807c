package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/piswarm/piswarm/agent/internal/api"
	"github.com/piswarm/piswarm/agent/internal/discovery"
	"github.com/piswarm/piswarm/agent/internal/identity"
	"github.com/piswarm/piswarm/agent/internal/peers"
	"github.com/piswarm/piswarm/agent/internal/rotation"
	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

const (
	// defaultCluster is the name of a cluster that was given none.
	defaultCluster = "home"
	// upLimit is how long init and join wait for the node to be up in its cluster.
	upLimit = 30 * time.Second
)

// readMembership takes the cluster from the disk, or from the token in the configuration at the first start.
func (a *Agent) readMembership() error {
	m, ok, err := a.dir.Membership()
	if err != nil {
		return err
	}
	if a.cfg.Token != "" {
		secret, err := trust.ParseToken(a.cfg.Token)
		if err != nil {
			return err
		}
		switch {
		case ok && m.Was(secret):
			a.log.Info("the token in the configuration is an old one of this node's cluster: it is not needed any more", "file", a.opts.Paths.Config)
		case ok && !m.Keys.Accepts(secret):
			return fmt.Errorf("the token in %s is of cluster %s, and this node is in cluster %s: remove the token there, "+
				"or remove %s to move the node", a.opts.Paths.Config, secret.ClusterID(), m.Keys.Primary.ClusterID(), a.opts.Paths.Data)
		case !ok:
			m = identity.Membership{Keys: trust.Keyring{Primary: secret}, Name: orDefault(a.cfg.Cluster, defaultCluster), Pool: cluster.DefaultPool}
			if err := a.dir.SaveMembership(m); err != nil {
				return err
			}
			ok = true
		}
	}
	if ok {
		a.member = &m
	}
	return nil
}

func orDefault(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// live runs one session after the other: none while the node is in no cluster.
func (a *Agent) live(ctx context.Context) error {
	for ctx.Err() == nil {
		a.mu.Lock()
		member, changed, found := a.member != nil, a.changed, a.found
		a.mu.Unlock()
		if !member {
			a.log.Info("this node is in no cluster yet: piswarm init makes one, piswarm join joins one, " +
				"piswarm node add on a member admits this one")
			if err := a.wait(ctx, changed); err != nil {
				return err
			}
			continue
		}
		if err := a.serveMembership(ctx, found); err != nil {
			return err
		}
	}
	return nil
}

// membership is the present one of a node that is in a cluster.
func (a *Agent) membership() identity.Membership {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.member == nil {
		return identity.Membership{}
	}
	return *a.member
}

// change saves what turn makes of the membership, and goes by it. If that is as before, nothing is written.
func (a *Agent) change(turn func(identity.Membership) (identity.Membership, error)) (identity.Membership, error) {
	a.changing.Lock()
	defer a.changing.Unlock()
	a.mu.Lock()
	member := a.member
	a.mu.Unlock()
	if member == nil {
		return identity.Membership{}, errors.New("this node is in no cluster")
	}
	m, err := turn(*member)
	if err != nil || reflect.DeepEqual(m, *member) {
		return m, err
	}
	if err := a.dir.SaveMembership(m); err != nil {
		return *member, err
	}
	a.set(func() { a.member = &m })
	return m, nil
}

// set changes membership or session and tells who waits for that.
func (a *Agent) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
	close(a.changed)
	a.changed = make(chan struct{})
}

// await waits until ok, which is asked after every change.
func (a *Agent) await(ctx context.Context, ok func() bool) error {
	for {
		a.mu.Lock()
		done, changed := ok(), a.changed
		a.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// Member returns what the API needs of the membership, or why there is none.
func (a *Agent) Member() (*api.Member, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.session != nil:
		return a.session.api, nil
	case a.member != nil:
		return nil, api.ErrNotUp
	}
	return nil, api.ErrNoCluster
}

// Init makes a cluster of this node.
func (a *Agent) Init(ctx context.Context, in client.Init) (string, error) {
	name := orDefault(in.Name, defaultCluster)
	if err := cluster.ValidateNodeName(name); err != nil {
		return "", fmt.Errorf("cluster name: %w", err)
	}
	pool, err := cluster.ParsePool(orDefault(in.Pool, cluster.DefaultPool))
	if err != nil {
		return "", err
	}
	m := identity.Membership{Keys: trust.Keyring{Primary: trust.NewSecret()}, Name: name, Pool: pool.String()}
	if err := a.begin(ctx, m, true); err != nil {
		return "", err
	}
	return m.Keys.Primary.Token(), nil
}

// Join makes this node a member of the token's cluster, after some member has proved that it is one.
func (a *Agent) Join(ctx context.Context, in client.Join) error {
	secret, err := trust.ParseToken(in.Token)
	if err != nil {
		return err
	}
	a.mu.Lock()
	member := a.member
	a.mu.Unlock()
	if member != nil {
		return a.rejoin(ctx, *member, secret, in.Addresses)
	}
	_, err = a.find(ctx, secret, in.Addresses)
	if errors.Is(err, peers.ErrRemoved) {
		// It left after it was removed: what it was does not come back, and it comes as a new one.
		if err = a.another(); err == nil {
			_, err = a.find(ctx, secret, in.Addresses)
		}
	}
	if err != nil {
		return err
	}
	return a.begin(ctx, identity.Membership{Keys: trust.Keyring{Primary: secret}, Name: defaultCluster, Pool: cluster.DefaultPool}, false)
}

func inCluster(m identity.Membership) error {
	return fmt.Errorf("this node is in a cluster already (%s): `piswarm leave` first", m.Keys.Primary.ClusterID())
}

// begin makes the node a member and waits until it is up as one.
func (a *Agent) begin(ctx context.Context, m identity.Membership, found bool) error {
	a.mu.Lock()
	already := a.member
	a.mu.Unlock()
	if already != nil {
		return inCluster(*already)
	}
	if err := a.dir.SaveMembership(m); err != nil {
		return err
	}
	a.set(func() { a.member, a.found = &m, found })
	ctx, cancel := context.WithTimeout(ctx, upLimit)
	defer cancel()
	if err := a.await(ctx, func() bool { return a.session != nil }); err != nil {
		return errors.New("the node belongs to the cluster now, but is not up yet: has it an address on the network? see the agent's log")
	}
	return nil
}

// find finds a member of the secret's cluster, at the addresses or by mDNS, and returns what it says of the cluster's
// secrets.
func (a *Agent) find(ctx context.Context, secret trust.Secret, addresses []string) (rotation.State, error) {
	id, err := trust.NewIdentity(trust.Keyring{Primary: secret}, a.node.ID)
	if err != nil {
		return rotation.State{}, err
	}
	candidates, others, changed, err := a.candidates(ctx, secret.ClusterID(), addresses)
	if err != nil {
		return rotation.State{}, err
	}
	var last error
	for _, address := range candidates {
		state, err := askSecret(ctx, address, id)
		if err == nil {
			a.set(func() { a.met = address.Addr() })
		}
		if err == nil || errors.Is(err, peers.ErrRemoved) {
			return state, err
		}
		last = fmt.Errorf("%s: %w", address, err)
	}
	switch {
	case last != nil:
		return rotation.State{}, fmt.Errorf("no member of the token's cluster answers: %w", last)
	case changed:
		return rotation.State{}, fmt.Errorf("the token of cluster %s was changed since: `piswarm token` on a member prints the new one", secret.ClusterID())
	case len(others) > 0:
		return rotation.State{}, fmt.Errorf("no node of the token's cluster %s is on this network, only of %s: is it the right token?",
			secret.ClusterID(), strings.Join(others, ", "))
	}
	return rotation.State{}, fmt.Errorf("no node of cluster %s is on this network: is one on? Otherwise name one: piswarm join --token … ADDRESS", secret.ClusterID())
}

// askSecret asks whoever answers at an address, and proves a secret of the identity's, which secrets hold.
func askSecret(ctx context.Context, address netip.AddrPort, id *trust.Identity) (rotation.State, error) {
	var state rotation.State
	raw, _, err := peers.Ask(ctx, address, id.AnyMember(), api.SecretPath, api.MaxStep)
	if err == nil {
		err = json.Unmarshal(raw, &state)
	}
	return state, err
}

// candidates are the node APIs to try, and the other clusters that were seen; changed says that one of those had the ID
// before.
func (a *Agent) candidates(ctx context.Context, clusterID string, addresses []string) (found []netip.AddrPort, others []string, changed bool, err error) {
	for _, text := range addresses {
		host, _, err := net.SplitHostPort(text)
		if err != nil {
			host = text
		}
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
		if err != nil {
			return nil, nil, false, fmt.Errorf("address %q: %w", text, err)
		}
		for _, ip := range ips {
			found = append(found, netip.AddrPortFrom(ip.Unmap(), cluster.NodeAPIPort))
		}
	}
	if len(addresses) > 0 {
		return found, nil, false, nil
	}
	lan, err := a.network.LAN(a.cfg.Advertise)
	if err != nil {
		return nil, nil, false, err
	}
	err = discovery.Look(ctx, lan.Interface, func(n discovery.Found) {
		if n.Cluster == clusterID {
			found = append(found, netip.AddrPortFrom(n.Address.Addr(), cluster.NodeAPIPort))
		} else if !slices.Contains(others, n.Cluster) {
			others = append(others, n.Cluster)
		}
		changed = changed || n.Formerly(clusterID)
	})
	return found, others, changed, err
}

// Leave takes the node out of its cluster and everything of it off this machine.
func (a *Agent) Leave(ctx context.Context) error {
	a.mu.Lock()
	s, member := a.session, a.member
	a.mu.Unlock()
	switch {
	case s == nil && member != nil: // nobody could be told
		return api.ErrNotUp
	case s == nil:
		return errors.New("this node is in no cluster")
	}
	if err := s.farewell(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, upLimit)
	defer cancel()
	if err := a.await(ctx, func() bool { return a.member == nil }); err != nil {
		return errors.New("the node has left, but clearing up takes long: see the agent's log")
	}
	return nil
}
