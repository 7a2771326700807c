package dockerapi

import (
	"context"
	"maps"
	"net/http"
	"slices"

	"github.com/moby/moby/api/types/swarm"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func (s *server) nodeList(r *http.Request) (any, error) {
	f, err := readFilters(r, "id", "name", "label", "node.label", "membership", "role")
	if err != nil {
		return nil, err
	}
	nodes, err := s.api.NodeDetails(r.Context())
	if err != nil {
		return nil, err
	}
	all := []swarm.Node{}
	for _, n := range nodes {
		if f.prefix("id", swarmID(n.ID)) && f.prefix("name", n.Name) && f.labels("label", n.Labels) && f.labels("node.label", n.Labels) &&
			f.equal("role", string(n.Role)) && f.equal("membership", "accepted") {
			all = append(all, node(n))
		}
	}
	return all, nil
}

// node is a node in docker's words.
func node(n client.Node) swarm.Node {
	d := n.Description
	out := swarm.Node{
		ID: swarmID(n.ID), Meta: swarm.Meta{Version: index(n.Version)},
		Spec: nodeSpec(n),
		Description: swarm.NodeDescription{
			Hostname: n.Name, Platform: swarm.Platform{Architecture: machine(d.Platform.Arch), OS: d.Platform.OS},
			Resources: swarm.Resources{NanoCPUs: d.Capacity.NanoCPUs, MemoryBytes: d.Capacity.MemoryBytes},
			Engine:    swarm.EngineDescription{EngineVersion: d.Version},
		},
		Status: swarm.NodeStatus{State: swarm.NodeStateReady, Addr: n.Address},
	}
	if n.State != cluster.Ready {
		out.Status.State, out.Status.Message = swarm.NodeStateDown, "the other nodes do not hear it"
	}
	if n.Role == cluster.Manager {
		out.ManagerStatus = &swarm.ManagerStatus{Leader: n.Leader, Reachability: swarm.ReachabilityReachable, Addr: managerAddress(n)}
		if n.State != cluster.Ready {
			out.ManagerStatus.Reachability = swarm.ReachabilityUnreachable
		}
	}
	return out
}

// nodeSpec is what the user has set. A node has no name of docker's beside that of its machine.
func nodeSpec(n client.Node) swarm.NodeSpec {
	return swarm.NodeSpec{
		Annotations: swarm.Annotations{Labels: n.Labels}, Role: swarm.NodeRole(n.Role), Availability: swarm.NodeAvailability(n.Availability),
	}
}

// findNode finds a node as docker's users name it, or by the ID that piswarm shows.
func (s *server) findNode(ctx context.Context, text string) (client.Node, error) {
	nodes, err := s.api.NodeDetails(ctx)
	if err != nil {
		return client.Node{}, err
	}
	if text == "self" {
		v, err := s.api.Version(ctx)
		if err != nil {
			return client.Node{}, err
		}
		text = swarmID(v.NodeID)
	}
	return match("node", text, nodes, func(n client.Node) string { return swarmID(n.ID) }, func(n client.Node) string { return n.Name })
}

func (s *server) nodeInspect(r *http.Request) (any, error) {
	n, err := s.findNode(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return node(n), nil
}

// nodeUpdate sets availability, labels and role. Every node of piswarm holds everything and takes every command; its role
// says only whether it may lead.
func (s *server) nodeUpdate(r *http.Request) (any, error) {
	in, err := read[swarm.NodeSpec](r)
	if err != nil {
		return nil, err
	}
	n, err := s.findNode(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if err := checkVersion(r.URL.Query().Get("version"), n.Version); err != nil {
		return nil, err
	}
	if in.Name != "" && in.Name != n.Name {
		return nil, unsupported("node %s cannot be named %s: its name is the host name of its machine", n.Name, in.Name)
	}
	if err := checkAvailability(in.Availability); err != nil {
		return nil, badRequest("%w", err)
	}
	switch in.Role {
	case "", swarm.NodeRoleManager:
	case swarm.NodeRoleWorker:
		if err := s.othersLead(r.Context(), n); err != nil {
			return nil, err
		}
	default:
		return nil, badRequest("role %q: want manager (may lead) or worker (never leads)", in.Role)
	}
	update := client.NodeUpdate{Version: n.Version}
	if a := cluster.Availability(in.Availability); a != n.Availability {
		update.Availability = a
	}
	if role := cluster.Role(in.Role); role != n.Role {
		update.Role = role
	}
	for key, value := range in.Labels {
		if old, ok := n.Labels[key]; !ok || old != value {
			if update.LabelsAdd == nil {
				update.LabelsAdd = map[string]string{}
			}
			update.LabelsAdd[key] = value
		}
	}
	for _, key := range slices.Sorted(maps.Keys(n.Labels)) {
		if _, ok := in.Labels[key]; !ok {
			update.LabelsRemove = append(update.LabelsRemove, key)
		}
	}
	if update.Availability == "" && update.Role == "" && len(update.LabelsAdd) == 0 && len(update.LabelsRemove) == 0 {
		return struct{}{}, nil
	}
	if _, err := s.api.UpdateNode(r.Context(), n.ID, update); err != nil {
		return nil, err
	}
	return struct{}{}, nil
}

// othersLead refuses to take the last node from those that may lead: nothing would be placed any more.
func (s *server) othersLead(ctx context.Context, n client.Node) error {
	nodes, err := s.api.NodeDetails(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(nodes, func(o client.Node) bool { return o.ID != n.ID && o.Role == cluster.Manager }) {
		return problem{http.StatusPreconditionFailed, errLastManager}
	}
	return nil
}

const errLastManager = constantError("attempting to demote the last manager of the swarm: no node could lead any more")

type constantError string

func (e constantError) Error() string { return string(e) }

func (s *server) nodeRemove(r *http.Request) (any, error) {
	force, err := switched(r, "force")
	if err != nil {
		return nil, err
	}
	n, err := s.findNode(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if _, err := s.api.RemoveNode(r.Context(), n.ID, force); err != nil {
		return nil, err
	}
	return struct{}{}, nil
}
