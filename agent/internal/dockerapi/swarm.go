package dockerapi

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// swarmPort is where docker's swarm listens. Nothing does here, but tutorials name it.
const swarmPort = 2377

func (s *server) swarmInit(r *http.Request) (any, error) {
	in, err := read[swarm.InitRequest](r)
	if err != nil {
		return nil, err
	}
	v, err := s.api.Version(r.Context())
	if err != nil {
		return nil, err
	}
	if v.ClusterID != "" {
		return nil, problem{http.StatusServiceUnavailable, constantError(`This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.`)}
	}
	switch {
	case in.ForceNewCluster:
		return nil, unsupported("force-new-cluster: no quorum is ever lost here, so there is nothing to force")
	case in.AutoLockManagers || in.Spec.EncryptionConfig.AutoLockManagers:
		return nil, unsupported("autolock: piswarm has no lock on its managers")
	case in.DataPathPort != 0:
		return nil, unsupported("data-path-port: containers' traffic is not encapsulated and has no port")
	case in.SubnetSize != 0 && in.SubnetSize != 24:
		return nil, badRequest("default-addr-pool-mask-length %d: each node takes a /24 of the pool", in.SubnetSize)
	case len(in.DefaultAddrPool) > 1:
		return nil, badRequest("%d address pools: there is one, of which each node takes a /24", len(in.DefaultAddrPool))
	}
	if err := errors.Join(checkAvailability(in.Availability), checkOwnSpec(in.Spec), checkListen(in.ListenAddr),
		checkAdvertise(in.AdvertiseAddr, v.Address), checkAdvertise(in.DataPathAddr, v.Address)); err != nil {
		return nil, badRequest("%w", err)
	}
	var pool string
	if len(in.DefaultAddrPool) == 1 {
		pool = in.DefaultAddrPool[0].String()
	}
	name := in.Spec.Name
	if name == "default" {
		name = "" // docker's own word for none
	}
	if _, err := s.api.Init(r.Context(), client.Init{Name: name, Pool: pool}); err != nil {
		return nil, err
	}
	return swarmID(v.NodeID), s.setAvailability(r, v.NodeID, in.Availability)
}

// checkListen takes what docker's client gives unless told otherwise, and nothing else.
func checkListen(address string) error {
	switch address {
	case "", "0.0.0.0", "0.0.0.0:" + strconv.Itoa(swarmPort):
		return nil
	}
	return errors.New("listen-addr " + address + ": where the agent listens follows from its address on the LAN; /etc/piswarm/piswarm.toml chooses among several (advertise = …)")
}

// checkAdvertise takes the address that the node has on its LAN.
func checkAdvertise(address, own string) error {
	if address == "" {
		return nil
	}
	host := withoutPort(address)
	if host == own {
		return nil
	}
	if _, err := netip.ParseAddr(host); err != nil { // an interface
		if i, err := net.InterfaceByName(host); err == nil {
			addresses, _ := i.Addrs() // none, then
			if slices.ContainsFunc(addresses, func(a net.Addr) bool { return strings.HasPrefix(a.String(), own+"/") }) {
				return nil
			}
		}
	}
	return errors.New("advertise-addr " + address + ": on its LAN this node is " + own + "; /etc/piswarm/piswarm.toml chooses among several addresses (advertise = …)")
}

// withoutPort takes off a port that would be docker's or piswarm's own in any case.
func withoutPort(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err == nil && (port == strconv.Itoa(swarmPort) || port == strconv.Itoa(cluster.GossipPort)) {
		return host
	}
	return address
}

func checkAvailability(a swarm.NodeAvailability) error {
	switch a {
	case "", swarm.NodeAvailabilityActive, swarm.NodeAvailabilityPause, swarm.NodeAvailabilityDrain:
		return nil
	}
	return errors.New("availability " + strconv.Quote(string(a)) + ": want active, pause or drain")
}

// checkOwnSpec refuses settings of docker's raft, dispatcher and certificates. Docker's client sends its defaults, with
// which it means nothing.
func checkOwnSpec(spec swarm.Spec) error {
	unchangeable := errors.New("task history limit, certificates, heartbeats and snapshots are not to be set: piswarm has no raft, its certificates do not expire, and each slot remembers 4 tasks")
	limit, keep := spec.Orchestration.TaskHistoryRetentionLimit, spec.Raft.KeepOldSnapshots
	switch {
	case len(spec.Labels) > 0:
		return errors.New("labels: a cluster has none; nodes and services have")
	case limit != nil && *limit != taskHistory && *limit != dockerTaskHistory, keep != nil && *keep != 0,
		spec.CAConfig.NodeCertExpiry != 0 && spec.CAConfig.NodeCertExpiry != dockerCertExpiry, len(spec.CAConfig.ExternalCAs) > 0,
		spec.CAConfig.SigningCACert != "" || spec.CAConfig.SigningCAKey != "" || spec.CAConfig.ForceRotate != 0,
		spec.Dispatcher.HeartbeatPeriod != 0 && spec.Dispatcher.HeartbeatPeriod != dockerHeartbeat,
		spec.Raft.SnapshotInterval != 0 && spec.Raft.SnapshotInterval != dockerSnapshots, spec.Raft.LogEntriesForSlowFollowers != 0,
		spec.TaskDefaults.LogDriver != nil:
		return unchangeable
	case spec.EncryptionConfig.AutoLockManagers:
		return errors.New("autolock: piswarm has no lock on its managers")
	}
	return nil
}

func (s *server) swarmJoin(r *http.Request) (any, error) {
	in, err := read[swarm.JoinRequest](r)
	if err != nil {
		return nil, err
	}
	v, err := s.api.Version(r.Context())
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkAvailability(in.Availability), checkListen(in.ListenAddr),
		checkAdvertise(in.AdvertiseAddr, v.Address), checkAdvertise(in.DataPathAddr, v.Address)); err != nil {
		return nil, badRequest("%w", err)
	}
	join := client.Join{Token: in.JoinToken}
	for _, address := range in.RemoteAddrs {
		if address != "" {
			join.Addresses = append(join.Addresses, withoutPort(address))
		}
	}
	if _, err := s.api.Join(r.Context(), join); err != nil {
		return nil, err
	}
	return struct{}{}, s.setAvailability(r, v.NodeID, in.Availability)
}

func (s *server) setAvailability(r *http.Request, node string, a swarm.NodeAvailability) error {
	if a == "" || a == swarm.NodeAvailabilityActive {
		return nil
	}
	_, err := s.api.UpdateNode(r.Context(), node, client.NodeUpdate{Availability: cluster.Availability(a)})
	return err
}

// swarmLeave needs no force: every node holds everything, so that none is missed as a manager of docker's would be.
func (s *server) swarmLeave(r *http.Request) (any, error) {
	if _, err := switched(r, "force"); err != nil {
		return nil, err
	}
	if !s.inSwarm(r.Context()) {
		return nil, problem{http.StatusServiceUnavailable, constantError("This node is not part of a swarm")}
	}
	if _, err := s.api.Leave(r.Context()); err != nil {
		return nil, err
	}
	return struct{}{}, nil
}

// cluster is what there is to say of it: the node that was asked knows its ID, and its status has its name.
func (s *server) cluster(ctx context.Context) (client.Version, client.Status, error) {
	v, err := s.api.Version(ctx)
	if err != nil {
		return v, client.Status{}, err
	}
	st, err := s.api.Status(ctx)
	return v, st, err
}

func (s *server) swarmInspect(r *http.Request) (any, error) {
	token, err := s.api.Token(r.Context())
	if err != nil {
		return nil, err
	}
	v, st, err := s.cluster(r.Context())
	if err != nil {
		return nil, err
	}
	// One token lets nodes in, and what a node may do is said of it later.
	return swarm.Swarm{
		ClusterInfo: swarm.ClusterInfo{
			ID: swarmID(v.ClusterID), Meta: swarm.Meta{Version: clusterVersion(v)}, Spec: ownSpec(st.Cluster), SubnetSize: 24,
			DefaultAddrPool: []netip.Prefix{},
		},
		JoinTokens: swarm.JoinTokens{Worker: token.Token, Manager: token.Token},
	}, nil
}

// clusterVersion changes as the token does, which is all that can change of a cluster.
func clusterVersion(v client.Version) swarm.Version { return index("1@" + v.ClusterID) }

func ownSpec(name string) swarm.Spec {
	limit := int64(taskHistory)
	return swarm.Spec{
		Annotations: swarm.Annotations{Name: name, Labels: map[string]string{}}, Orchestration: swarm.OrchestrationConfig{TaskHistoryRetentionLimit: &limit},
	}
}

func (s *server) swarmUpdate(r *http.Request) (any, error) {
	in, err := read[swarm.Spec](r)
	if err != nil {
		return nil, err
	}
	v, st, err := s.cluster(r.Context())
	if err != nil {
		return nil, err
	}
	if err := checkVersion(r.URL.Query().Get("version"), "1@"+v.ClusterID); err != nil {
		return nil, err
	}
	if in.Name != "" && in.Name != "default" && in.Name != st.Cluster {
		return nil, badRequest("cluster %s cannot be renamed to %s", st.Cluster, in.Name)
	}
	if err := checkOwnSpec(in); err != nil {
		return nil, badRequest("%w", err)
	}
	rotate := false
	for _, name := range []string{"rotateWorkerToken", "rotateManagerToken", "rotateManagerUnlockKey"} {
		on, err := switched(r, name)
		if err != nil {
			return nil, err
		}
		if on && name == "rotateManagerUnlockKey" {
			return nil, unsupported("piswarm has no lock on its managers, and so no key to change")
		}
		rotate = rotate || on
	}
	if !rotate {
		return struct{}{}, nil
	}
	// A node that is off while the token changes must be told the new one by hand, and this answer has no place to say so.
	for _, n := range st.Nodes {
		if n.State != cluster.Ready {
			return nil, conflict("node %s is %s and would be left out: run `piswarm token rotate`, which tells how to bring it back", n.Name, n.State)
		}
	}
	if _, err := s.api.RotateToken(r.Context(), nil); err != nil {
		return nil, err
	}
	return struct{}{}, nil
}

// What docker's client sends of its own accord.
const (
	taskHistory       = 4
	dockerTaskHistory = 5
	dockerCertExpiry  = 90 * 24 * time.Hour
	dockerHeartbeat   = 5 * time.Second
	dockerSnapshots   = 10000
)
