package loadbalance

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// nat leads connections to containers, and replaces source addresses where it must be.
func nat(in Input) Table {
	const pre, out, post = Prefix + "PREROUTING", Prefix + "OUTPUT", Prefix + "POSTROUTING"
	const ports, vips, self = Prefix + "PORTS", Prefix + "VIPS", Prefix + "SELF"

	chains := []Chain{
		{pre, []string{
			fmt.Sprintf("-d %s -j %s", in.VirtualIPs, vips),
			// A packet to 127.0.0.0/8 that comes in from outside is not for us to forward.
			fmt.Sprintf("! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j %s", ports),
		}},
		{out, []string{fmt.Sprintf("-m addrtype --dst-type LOCAL -j %s", ports)}},
		{post, masquerade(in, self)},
	}
	leaves := publishedPorts(in.Services)
	chains = append(chains, dispatch(ports, leaves.entries, tcpPorts, udpPorts)...)
	chains = append(chains, leaves.chains...)
	leaves = virtualIPs(in.Services)
	chains = append(chains, dispatch(vips, leaves.entries, virtual)...)
	chains = append(chains, leaves.chains...)
	chains = append(chains, dispatch(self, hairpins(in), hairpin)...)
	return Table{
		Name:   "nat",
		Jumps:  []Jump{{"PREROUTING", pre}, {"OUTPUT", out}, {"POSTROUTING", post}},
		Chains: chains,
	}
}

// destinations are the ends of a dispatch, each with the chain that spreads its connections over the tasks.
type destinations struct {
	entries []entry
	chains  []Chain
}

// add adds a destination that packets with this key and this match lead to.
func (d *destinations) add(key uint32, of *family, match, note, chain string, targets []string) {
	d.entries = append(d.entries, entry{of, key, match + " -m comment --comment " + comment(note) + " -j " + chain})
	d.chains = append(d.chains, Chain{chain, roundRobin(targets)})
}

// publishedPorts returns the destinations behind the ports that this node answers for. A port that leads to no
// ready container is none of them, so that the kernel refuses the connection.
func publishedPorts(services []Service) destinations {
	type key struct {
		proto cluster.Protocol
		port  uint16
	}
	seen := map[key]bool{}
	var ds destinations
	for _, s := range services {
		for _, p := range s.Ports {
			k := key{p.Protocol, p.Published}
			family := portFamilies[p.Protocol]
			// Whom a port belongs to is decided by who fills in the services. Should it be told of two, a chain can be
			// made only once.
			if family == nil || len(p.Targets) == 0 || seen[k] {
				continue
			}
			seen[k] = true
			targets := make([]string, len(p.Targets))
			for i, t := range p.Targets {
				targets[i] = "-p " + string(p.Protocol) + " -j DNAT --to-destination " + t.String()
			}
			port := uint32(p.Published)
			ds.add(port, family, family.match(port, port), s.Name, family.chain(port, port), targets)
		}
	}
	return ds
}

// virtualIPs returns the destinations behind the services' virtual addresses. That of a service without a
// ready container has none; there the range's unreachable route answers.
func virtualIPs(services []Service) destinations {
	seen := map[netip.Addr]bool{}
	var ds destinations
	for _, s := range services {
		if !s.VirtualIP.Is4() || len(s.Backends) == 0 || seen[s.VirtualIP] {
			continue
		}
		seen[s.VirtualIP] = true
		targets := make([]string, len(s.Backends))
		for i, b := range s.Backends {
			targets[i] = "-j DNAT --to-destination " + b.String()
		}
		address := s.VirtualIP.String()
		ds.add(number(s.VirtualIP), virtual, "-d "+address+"/32", s.Name, Prefix+"VIP-"+address, targets)
	}
	return ds
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

// roundRobin returns rules of which the first connection takes the first, the second the second, and so on
// for ever. Rule i sees the connections that none before it took, and takes one of every n-i.
func roundRobin(targets []string) []string {
	rules := make([]string, len(targets))
	for i, t := range targets {
		if left := len(targets) - i; left > 1 {
			t = "-m statistic --mode nth --every " + strconv.Itoa(left) + " --packet 0 " + t
		}
		rules[i] = t
	}
	return rules
}

// comment makes a text safe to stand in a rule. Service names are safe already; but the rules are run as
// root, and the name may come from another node.
func comment(s string) string {
	// A leading dash would read as an option, and the kernel keeps 255 characters.
	return "service:" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, s[:min(len(s), 200)])
}
