package loadbalance

import (
	"fmt"
	"net/netip"
)

// nat leads connections to containers, and replaces source addresses where it must be.
func (p *Planner) nat(in Input) Table {
	const pre, out, post = Prefix + "PREROUTING", Prefix + "OUTPUT", Prefix + "POSTROUTING"
	const ports, vips, self = Prefix + "PORTS", Prefix + "VIPS", Prefix + "SELF"

	chains := []Chain{
		{pre, []string{
			fmt.Sprintf("-d %s -j %s", in.VirtualIPs, vips),
			// Containers ask the agent for names, whatever service is published at that port.
			fmt.Sprintf("-i %s -d %s/32 -p udp -m udp --dport 53 -j RETURN", in.Bridge, gateway(in)),
			fmt.Sprintf("-i %s -d %s/32 -p tcp -m tcp --dport 53 -j RETURN", in.Bridge, gateway(in)),
			// A packet to 127.0.0.0/8 that comes in from outside is not for us to forward.
			fmt.Sprintf("! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j %s", ports),
		}},
		{out, []string{fmt.Sprintf("-m addrtype --dst-type LOCAL -j %s", ports)}},
		{post, masquerade(in, self)},
	}
	ways := p.ways(in.Services)
	chains = append(chains, dispatch(ports, ways.ports, tcpPorts, udpPorts)...)
	chains = append(chains, dispatch(vips, ways.vips, virtual)...)
	chains = append(chains, ways.chains...)
	chains = append(chains, dispatch(self, hairpins(in), hairpin)...)
	return Table{
		Name:   "nat",
		Jumps:  []Jump{{"PREROUTING", pre}, {"OUTPUT", out}, {"POSTROUTING", post}},
		Chains: chains,
	}
}

// hairpins are the containers here that may reach themselves through their own service.
func hairpins(in Input) []entry {
	seen := map[netip.Addr]bool{}
	var all []entry
	for _, s := range in.Services {
		for _, b := range s.Backends {
			if in.Subnet.Contains(b) && !seen[b] {
				seen[b] = true
				all = append(all, entry{hairpin, number(b), fmt.Sprintf("-s %s/32 -d %s/32 -j MASQUERADE", b, b)})
			}
		}
	}
	return all
}

// masquerade lists the connections whose source address is replaced by this node's.
func masquerade(in Input, self string) []string {
	rules := []string{
		// From localhost.
		fmt.Sprintf("-s 127.0.0.0/8 -d %s -j MASQUERADE", in.Pool),
		// From a container to itself.
		fmt.Sprintf("-s %s -d %s -j %s", in.Subnet, in.Subnet, self),
	}
	// From a node, or one of its containers, back to a container of that node.
	for _, p := range in.Peers {
		rules = append(rules,
			fmt.Sprintf("-s %s/32 -d %s -j MASQUERADE", p.Address, p.Subnet),
			fmt.Sprintf("-s %s -d %s -j MASQUERADE", p.Subnet, p.Subnet))
	}
	// Other nodes know the way to our containers; the rest of the world does not.
	for _, p := range in.Peers {
		rules = append(rules, fmt.Sprintf("-s %s -d %s/32 -j RETURN", in.Subnet, p.Address))
	}
	return append(rules, fmt.Sprintf("-s %s ! -d %s -j MASQUERADE", in.Subnet, in.Pool))
}
