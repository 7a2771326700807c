package dockerapi

import (
	"context"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/moby/moby/api/types/network"

	"github.com/piswarm/piswarm/pkg/client"
)

// The one network that there is, under the name by which docker's users know that of the published ports.
const (
	ingressName = "ingress"
	ingressID   = "ingresszpiswarmzpiswarmzp"
)

// networkCreate is the body of a request to make a network. Clients of before send a field that has no meaning any more.
type networkCreate struct {
	network.CreateRequest
	CheckDuplicate *bool `json:",omitempty"`
}

// networkOut is a network in docker's words.
func networkOut(n client.Network) network.Network {
	return network.Network{
		Name: n.Name, ID: n.ID, Created: n.CreatedAt, Scope: "swarm", Driver: "overlay", EnableIPv4: true, Attachable: false,
		IPAM: network.IPAM{Driver: "default", Config: []network.IPAMConfig{}}, Options: map[string]string{}, Labels: orEmpty(n.Labels),
	}
}

func (s *server) networks(ctx context.Context) ([]network.Inspect, error) {
	v, err := s.api.Version(ctx)
	if err != nil || v.ClusterID == "" {
		return nil, err
	}
	own, err := s.api.Networks(ctx)
	if err != nil {
		return nil, err
	}
	one := network.Network{
		Name: ingressName, ID: ingressID, Created: time.Unix(0, 0).UTC(), Scope: "swarm", Driver: "overlay", EnableIPv4: true, Ingress: true,
		IPAM: network.IPAM{Driver: "default", Config: []network.IPAMConfig{}}, Options: map[string]string{}, Labels: map[string]string{},
	}
	if n, err := s.ownNode(ctx, v); err == nil {
		if subnet, err := netip.ParsePrefix(n.Description.Subnet); err == nil {
			one.IPAM.Config = append(one.IPAM.Config, network.IPAMConfig{Subnet: netip.PrefixFrom(subnet.Addr(), 16).Masked()})
		}
	}
	all := []network.Inspect{{Network: one, Containers: map[string]network.EndpointResource{}}}
	for _, n := range own {
		inspect := network.Inspect{Network: networkOut(n), Containers: map[string]network.EndpointResource{}, Services: map[string]network.ServiceInfo{}}
		for _, service := range n.Services {
			inspect.Services[service] = network.ServiceInfo{}
		}
		all = append(all, inspect)
	}
	return all, nil
}

func (s *server) networkList(r *http.Request) (any, error) {
	f, err := readFilters(r, "id", "name", "label", "driver", "scope", "type", "dangling")
	if err != nil {
		return nil, err
	}
	dangling, given, err := f.switched("dangling")
	if err != nil {
		return nil, err
	}
	networks, err := s.networks(r.Context())
	if err != nil {
		return nil, err
	}
	all := []network.Summary{}
	for _, n := range networks {
		kind := "custom"
		if n.Ingress {
			kind = "builtin"
		}
		if f.prefix("id", n.ID) && f.prefix("name", n.Name) && f.labels("label", n.Labels) && f.equal("driver", n.Driver) &&
			f.equal("scope", n.Scope) && f.equal("type", kind) && (!given || dangling == (len(n.Services) == 0 && !n.Ingress)) {
			all = append(all, network.Summary{Network: n.Network})
		}
	}
	return all, nil
}

func (s *server) findNetwork(ctx context.Context, text string) (network.Inspect, error) {
	all, err := s.networks(ctx)
	if err != nil {
		return network.Inspect{}, err
	}
	return match("network", text, all, func(n network.Inspect) string { return n.ID }, func(n network.Inspect) string { return n.Name })
}

func (s *server) networkInspect(r *http.Request) (any, error) {
	if scope := r.URL.Query().Get("scope"); scope != "" && scope != "swarm" {
		return nil, notFound("network %s not found: all networks are of scope swarm", r.PathValue("id"))
	}
	n, err := s.findNetwork(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return n, nil
}

func (s *server) networkCreate(r *http.Request) (any, error) {
	in, err := read[networkCreate](r)
	if err != nil {
		return nil, err
	}
	if err := refuseNetwork(in.CreateRequest); err != nil {
		return nil, err
	}
	written, err := s.api.CreateNetwork(r.Context(), client.NetworkCreate{Name: in.Name, Labels: in.Labels})
	if err != nil {
		return nil, err
	}
	out := network.CreateResponse{ID: written.ID, Warning: oneNetwork}
	if in.Attachable {
		out.Warning += ". Nothing is attached to it but services: there are no other containers"
	}
	return created{out}, nil
}

// refuseNetwork refuses what a network that is but a name cannot be.
func refuseNetwork(in network.CreateRequest) error {
	off := func(on *bool) bool { return on != nil && !*on }
	ipam := in.IPAM != nil && (len(in.IPAM.Config) > 0 || len(in.IPAM.Options) > 0 || in.IPAM.Driver != "" && in.IPAM.Driver != "default")
	for _, no := range []struct {
		given           bool
		option, instead string
	}{
		{in.Driver != "" && in.Driver != "overlay" && in.Driver != "bridge", "driver " + in.Driver, "there is one network, of every container; leave it out, or say overlay"},
		{in.Driver == "bridge" && in.Scope != "swarm", "driver bridge", "a network of one node does not exist here: say --driver overlay"},
		{in.Scope == "local", "scope local", "all networks are the cluster's"},
		{off(in.EnableIPv4) || in.EnableIPv6 != nil && *in.EnableIPv6, "IPv6", "containers have IPv4 addresses"},
		{ipam, "addresses of a network", "containers have theirs from the cluster's pool, which `piswarm init --pool` sets"},
		{in.Internal, "an internal network", "every container reaches the LAN"},
		{in.Ingress, "an ingress network", "there is one already"},
		{in.ConfigOnly || in.ConfigFrom != nil && in.ConfigFrom.Network != "", "a network for its configuration alone", "there is nothing to configure"},
	} {
		if no.given {
			return unsupported("network %s: %s: %s", in.Name, no.option, no.instead)
		}
	}
	for _, option := range slices.Sorted(maps.Keys(in.Options)) {
		return unsupported("network %s: option %s: a network is a name here, and has none", in.Name, option)
	}
	return nil
}

func (s *server) networkRemove(r *http.Request) (any, error) {
	n, err := s.findNetwork(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	if n.Ingress {
		return nil, problem{http.StatusForbidden, constantError("network ingress is that of all containers and cannot be removed")}
	}
	if _, err := s.api.RemoveNetwork(r.Context(), n.Name); err != nil {
		return nil, err
	}
	return empty{}, nil
}
