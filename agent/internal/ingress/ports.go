package ingress

import (
	"net/netip"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// publishedPorts gives each service, by ID, those of its ports that lead to it. Two services publish one port only
// if each does so on the nodes of its own tasks, or if they were made on two sides of a partition. In that case the one
// with the smaller ID has it on every node, whether it has ready tasks or not: a port must not lead to another program
// whenever its own is down.
func publishedPorts(services []cluster.Service) map[string][]cluster.Port {
	type key struct {
		port     uint16
		protocol cluster.Protocol
	}
	type owner struct {
		service string
		mode    cluster.PortMode
	}
	taken := map[key]owner{}
	out := map[string][]cluster.Port{}
	for _, s := range byID(services) {
		for _, p := range s.Spec.Ports {
			k := key{p.Published, p.Protocol}
			by, known := taken[k]
			if !known {
				taken[k] = owner{s.ID, p.Mode}
			} else if by.service == s.ID || by.mode != cluster.PortHost || p.Mode != cluster.PortHost {
				continue
			}
			out[s.ID] = append(out[s.ID], p)
		}
	}
	return out
}

// targets are where this node leads a published port to. A task listens on the ports of the spec that it was made from:
// while that changes, the old tasks and the new ones may have different ones, and one that was made before the port was
// published has none. Of a version that nobody remembers, the present spec is the best guess.
func targets(s cluster.Service, port cluster.Port, ready []backend, self string) []netip.AddrPort {
	var all []netip.AddrPort
	for _, b := range ready {
		if port.Mode == cluster.PortHost && b.node != self {
			continue
		}
		spec, known := s.SpecOf(b.version)
		if !known {
			spec = s.Spec
		}
		for _, p := range spec.Ports {
			if p.Published == port.Published && p.Protocol == port.Protocol {
				all = append(all, netip.AddrPortFrom(b.address, p.Target))
				break
			}
		}
	}
	return all
}
