package loadbalance

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// nat leads connections to containers, and replaces source addresses where it must be.
func nat(in Input) Table {
	const pre, out, post, ports, vips = Prefix + "PREROUTING", Prefix + "OUTPUT", Prefix + "POSTROUTING", Prefix + "PORTS", Prefix + "VIPS"

	chains := []Chain{
		{pre, []string{
			fmt.Sprintf("-d %s -j %s", in.VirtualIPs, vips),
			// A packet to 127.0.0.0/8 that comes in from outside is not for us to forward.
			fmt.Sprintf("! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j %s", ports),
		}},
		{out, []string{fmt.Sprintf("-m addrtype --dst-type LOCAL -j %s", ports)}},
		{post, masquerade(in)},
	}
	chains = append(chains, dispatch(ports, publishedPorts(in.Services))...)
	chains = append(chains, dispatch(vips, virtualIPs(in.Services))...)
	return Table{
		Name:   "nat",
		Jumps:  []Jump{{"PREROUTING", pre}, {"OUTPUT", out}, {"POSTROUTING", post}},
		Chains: chains,
	}
}

// publishedPorts returns the destinations behind the ports that every node answers for. A port that has no
// ready container is none of them, so that the kernel refuses the connection.
func publishedPorts(services []Service) []destination {
	type key struct {
		proto cluster.Protocol
		port  uint16
	}
	seen := map[key]bool{}
	var ds []destination
	for _, s := range services {
		for _, p := range s.Ports {
			k := key{p.Protocol, p.Published}
			// Two services that publish one port are refused at creation, but two sides of a partition can
			// each create one. Every node then agrees on the first by name.
			known := p.Protocol == cluster.TCP || p.Protocol == cluster.UDP
			if p.Mode != cluster.PortIngress || !known || len(s.Backends) == 0 || seen[k] {
				continue
			}
			seen[k] = true
			match := fmt.Sprintf("-p %s -m %s", p.Protocol, p.Protocol)
			d := destination{
				order:  fmt.Sprintf("%s-%05d", p.Protocol, p.Published),
				family: string(p.Protocol),
				match:  fmt.Sprintf("%s --dport %d", match, p.Published),
				upTo: func(last destination) string {
					return fmt.Sprintf("%s --dport %d:%s", match, p.Published, last.label)
				},
				label: fmt.Sprint(p.Published),
				name:  fmt.Sprintf("%s%s-%d", Prefix, strings.ToUpper(string(p.Protocol)), p.Published),
				note:  s.Name,
			}
			for _, b := range s.Backends {
				d.targets = append(d.targets, fmt.Sprintf("-p %s -j DNAT --to-destination %s", p.Protocol, netip.AddrPortFrom(b, p.Target)))
			}
			ds = append(ds, d)
		}
	}
	return ds
}

// virtualIPs returns the destinations behind the services' virtual addresses. That of a service without a
// ready container has none; there the range's unreachable route answers.
func virtualIPs(services []Service) []destination {
	seen := map[netip.Addr]bool{}
	var ds []destination
	for _, s := range services {
		if !s.VirtualIP.Is4() || len(s.Backends) == 0 || seen[s.VirtualIP] {
			continue
		}
		seen[s.VirtualIP] = true
		d := destination{
			order: fmt.Sprintf("%x", s.VirtualIP.AsSlice()),
			match: fmt.Sprintf("-d %s/32", s.VirtualIP),
			upTo: func(last destination) string {
				return fmt.Sprintf("-m iprange --dst-range %s-%s", s.VirtualIP, last.label)
			},
			label: s.VirtualIP.String(),
			name:  Prefix + "VIP-" + s.VirtualIP.String(),
			note:  s.Name,
		}
		for _, b := range s.Backends {
			d.targets = append(d.targets, fmt.Sprintf("-j DNAT --to-destination %s", b))
		}
		ds = append(ds, d)
	}
	return ds
}

// masquerade lists the connections whose source address is replaced by this node's.
func masquerade(in Input) []string {
	// From localhost.
	rules := []string{fmt.Sprintf("-s 127.0.0.0/8 -d %s -j MASQUERADE", in.Pool)}
	// From a container to itself.
	var local []netip.Addr
	for _, s := range in.Services {
		for _, b := range s.Backends {
			if in.Subnet.Contains(b) {
				local = append(local, b)
			}
		}
	}
	slices.SortFunc(local, netip.Addr.Compare)
	for _, a := range slices.Compact(local) {
		rules = append(rules, fmt.Sprintf("-s %s/32 -d %s/32 -j MASQUERADE", a, a))
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

// destination is one published port or virtual IP.
type destination struct {
	order  string // sorts the destinations of one dispatch
	family string // destinations of different families share no range
	match  string // selects this one
	// upTo selects the range from this one to the last one, by the last one's label.
	upTo    func(last destination) string
	label   string
	name    string // of its chain
	note    string
	targets []string
}

// fanOut is how many rules a packet is compared with in one chain of a dispatch. With more destinations than
// that, the first chain leads to ranges of them: 1000 services cost 64 comparisons, and only the first packet
// of a connection pays them.
const fanOut = 32

// dispatch returns the chains that lead from chain name to the destinations, and the destinations' own.
func dispatch(name string, ds []destination) []Chain {
	slices.SortFunc(ds, func(a, b destination) int { return cmp.Compare(a.order, b.order) })
	top := Chain{Name: name}
	var ranges, leaves []Chain
	for _, d := range ds {
		leaves = append(leaves, Chain{d.name, roundRobin(d.targets)})
	}
	if len(ds) <= fanOut {
		top.Rules = jumps(ds)
		return append([]Chain{top}, leaves...)
	}
	for len(ds) > 0 {
		n := 1
		for n < len(ds) && n < fanOut && ds[n].family == ds[0].family {
			n++
		}
		// The name of a chain has at most 28 characters; this one, of a range of virtual IPs, has all 28.
		r := Chain{Name: name + "-" + strings.TrimPrefix(ds[0].family+"-"+ds[0].label, "-"), Rules: jumps(ds[:n])}
		top.Rules = append(top.Rules, ds[0].upTo(ds[n-1])+" -j "+r.Name)
		ranges = append(ranges, r)
		ds = ds[n:]
	}
	return slices.Concat([]Chain{top}, ranges, leaves)
}

func jumps(ds []destination) []string {
	var rules []string
	for _, d := range ds {
		rules = append(rules, fmt.Sprintf("%s -m comment --comment %s -j %s", d.match, comment(d.note), d.name))
	}
	return rules
}

// roundRobin returns rules of which the first connection takes the first, the second the second, and so on
// for ever. Rule i sees the connections that none before it took, and takes one of every n-i.
func roundRobin(targets []string) []string {
	rules := make([]string, len(targets))
	for i, t := range targets {
		if left := len(targets) - i; left > 1 {
			t = fmt.Sprintf("-m statistic --mode nth --every %d --packet 0 %s", left, t)
		}
		rules[i] = t
	}
	return rules
}

// comment makes a text safe to stand in a rule. Service names are safe already; but the rules are run as
// root, and the name may come from another node.
func comment(s string) string {
	s = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-' {
			return r
		}
		return '_'
	}, s)
	// A leading dash would read as an option, and the kernel keeps 255 characters.
	return "service:" + s[:min(len(s), 200)]
}
