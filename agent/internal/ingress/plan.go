package ingress

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"github.com/piswarm/piswarm/agent/internal/dns"
	"github.com/piswarm/piswarm/agent/internal/network"
	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/loadbalance"
)

// Place is where this node is.
type Place struct {
	LAN    network.LAN
	Subnet netip.Prefix // of this node's containers
	Pool   cluster.Pool
	Bridge string
}

// wanted is all that follows for this node's network from what is known.
type wanted struct {
	network network.Wanted
	rules   loadbalance.Input
	names   []dns.Service
	// backends are the ports that get connections now.
	backends map[network.Backend]bool
	// udp are the published ports of UDP that lead to any.
	udp map[uint16]bool
	// alive are the addresses that still answer connections they have, though they may get no new ones.
	alive map[netip.Addr]bool
	// ending are the addresses of tasks that are about to be told to stop.
	ending map[netip.Addr]bool
	// released are, sorted, the tasks that run unplanned and that these rules lead nothing to.
	released []string
	// complete tells that every ready node has said what it runs, so that alive lacks no one.
	complete bool
}

// live are all addresses of the pod network that somebody answers on: those of tasks, and of the nodes' bridges.
func (w wanted) live() map[netip.Addr]bool {
	live := maps.Clone(w.alive)
	live[gateway(w.network.Subnet)] = true
	for _, p := range w.network.Peers {
		live[gateway(p.Subnet)] = true
	}
	return live
}

func gateway(subnet netip.Prefix) netip.Addr { return subnet.Masked().Addr().Next() }

// plan decides. It is pure.
func plan(v view.View, here Place) wanted {
	w := wanted{
		backends: map[network.Backend]bool{}, udp: map[uint16]bool{},
		alive: map[netip.Addr]bool{}, ending: map[netip.Addr]bool{}, complete: true,
	}
	peers := peers(v, here)
	w.network = network.Wanted{
		Interface: here.LAN.Interface, Subnet: here.Subnet, Pool: here.Pool.Prefix(), VirtualIPs: here.Pool.VirtualIPs(),
	}
	w.rules = loadbalance.Input{
		Interface: here.LAN.Interface, Address: here.LAN.Address, Bridge: here.Bridge,
		Subnet: here.Subnet, Pool: here.Pool.Prefix(), VirtualIPs: here.Pool.VirtualIPs(), Peers: peers,
	}
	for _, p := range peers {
		w.network.Peers = append(w.network.Peers, network.Peer{Index: p.Index, Subnet: p.Subnet, Address: p.Address})
	}
	addresses := virtualIPs(v.Services, here.Pool)
	ports := publishedPorts(v.Services)
	planned := plannedTasks(v)
	serving := map[string]bool{}
	for _, s := range v.Services {
		ready := backends(v, s, planned)
		service := loadbalance.Service{Name: s.Spec.Name, VirtualIP: addresses[s.ID]}
		for _, b := range ready {
			service.Backends = append(service.Backends, b.address)
			serving[b.id] = true
		}
		for _, port := range ports[s.ID] {
			p := loadbalance.Port{Published: port.Published, Protocol: port.Protocol, Targets: targets(s, port, ready, v.Self)}
			service.Ports = append(service.Ports, p)
			for _, t := range p.Targets {
				w.backends[network.Backend{Address: t, Protocol: p.Protocol}] = true
			}
			if p.Protocol == cluster.UDP && len(p.Targets) > 0 {
				w.udp[p.Published] = true
			}
		}
		w.rules.Services = append(w.rules.Services, service)
		w.names = append(w.names, dns.Service{
			Name: service.Name, VirtualIP: service.VirtualIP, Tasks: service.Backends, Aliases: aliases(s), Askers: askers(v, s),
		})
	}
	for _, m := range v.Members {
		if m.Condition != cluster.Ready {
			continue
		}
		report, told := v.Reports[m.ID]
		w.complete = w.complete && told && !m.Unheard
		for _, t := range report.Tasks {
			if a, err := netip.ParseAddr(t.Address); err == nil {
				w.alive[a] = true
				if t.State == cluster.Stopping {
					w.ending[a] = true
				}
			}
			if t.State == cluster.Running && !planned[t.ID] && !serving[t.ID] {
				w.released = append(w.released, t.ID)
			}
		}
	}
	slices.Sort(w.released)
	return w
}

// aliases are the further names of a service, by network.
func aliases(s cluster.Service) map[string][]string {
	all := make(map[string][]string, len(s.Spec.Networks))
	for _, n := range s.Spec.Networks {
		all[n.Name] = n.Aliases
	}
	return all
}

// askers are the addresses that the service's containers on this node have, if it has any names to ask for.
func askers(v view.View, s cluster.Service) []netip.Addr {
	if len(s.Spec.Networks) == 0 {
		return nil
	}
	var all []netip.Addr
	for _, t := range v.Reports[v.Self].Tasks {
		if a, err := netip.ParseAddr(t.Address); err == nil && t.ServiceID == s.ID {
			all = append(all, a)
		}
	}
	return all
}

// peers are the other nodes that have a place in the pod network, in order of their subnets, whether they are up or
// down: a route to a node that is just restarting does no harm. Of two nodes with one subnet, the one that is up has
// it, else the one with the smaller ID.
func peers(v view.View, here Place) []loadbalance.Peer {
	var all []loadbalance.Peer
	taken := map[int]bool{}
	up := func(m cluster.Member) bool { return m.Condition == cluster.Ready }
	members := slices.Clone(v.Members) // in order of ID
	slices.SortStableFunc(members, func(a, b cluster.Member) int {
		if up(a) == up(b) {
			return 0
		} else if up(a) {
			return -1
		}
		return 1
	})
	for _, m := range members {
		report, ok := v.Reports[m.ID]
		if !ok || m.ID == v.Self || m.Condition == cluster.Left {
			continue
		}
		subnet, err := netip.ParsePrefix(report.Node.Subnet)
		if err != nil || subnet == here.Subnet {
			continue
		}
		address := m.Address
		if !address.IsValid() {
			address, _ = netip.ParseAddr(report.Node.Address)
		}
		index, ok := here.Pool.Index(subnet)
		if !ok || taken[index] || !address.IsValid() || address == here.LAN.Address {
			continue
		}
		taken[index] = true
		all = append(all, loadbalance.Peer{Index: index, MAC: report.Node.MAC, Subnet: subnet, Address: address})
	}
	slices.SortFunc(all, func(a, b loadbalance.Peer) int { return cmp.Compare(a.Index, b.Index) })
	return all
}

func byID(services []cluster.Service) []cluster.Service {
	sorted := slices.Clone(services)
	slices.SortFunc(sorted, func(a, b cluster.Service) int { return cmp.Compare(a.ID, b.ID) })
	return sorted
}

// virtualIPs gives each service, by ID, its virtual address: the one it was created with, unless a service made
// at the same time on the other side of a partition has the same and a smaller ID. Every node comes to the same
// result, for it depends on the services alone.
func virtualIPs(services []cluster.Service, pool cluster.Pool) map[string]netip.Addr {
	taken := map[netip.Addr]bool{}
	out := map[string]netip.Addr{}
	var losers []cluster.Service
	for _, s := range byID(services) {
		if taken[s.VirtualIP] || !pool.VirtualIPs().Contains(s.VirtualIP) {
			losers = append(losers, s)
			continue
		}
		taken[s.VirtualIP] = true
		out[s.ID] = s.VirtualIP
	}
	for _, s := range losers {
		if a := pool.ChooseVirtualIP(s.Spec.Name, taken); a.IsValid() {
			taken[a] = true
			out[s.ID] = a
		}
	}
	return out
}
