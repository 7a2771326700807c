package loadbalance

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// Plan returns the rules that a node needs. It never changes its input.
func Plan(in Input) Ruleset { return new(Planner).Plan(in) }

// Planner plans again and again. It gives the same rules as [Plan], but remembers those of each service: when one of a
// thousand has changed, the others need not be written anew. The zero one is ready.
type Planner struct {
	parts map[string]servicePart // by name
}

// Plan returns the rules that a node needs. It never changes its input.
func (p *Planner) Plan(in Input) Ruleset {
	in.Peers = slices.DeleteFunc(slices.Clone(in.Peers), func(p Peer) bool {
		return in.Interface == "" || !p.Subnet.IsValid() || !p.Address.IsValid()
	})
	for i := range in.Peers {
		in.Peers[i].MAC = ethernet(in.Peers[i].MAC)
	}
	slices.SortFunc(in.Peers, func(a, b Peer) int { return cmp.Or(cmp.Compare(a.Index, b.Index), a.Address.Compare(b.Address)) })
	in.Services = slices.Clone(in.Services)
	slices.SortFunc(in.Services, func(a, b Service) int { return cmp.Compare(a.Name, b.Name) })
	// What lets packets pass comes before what sends them, should the tables not change at the same instant.
	return Ruleset{Tables: []Table{filter(in), raw(in), mangle(in), p.nat(in)}}
}

// raw tells the connections apart that come by way of different nodes. The client's address is kept, so one that uses a
// port with two nodes at the same time, which are two connections to it, would have a container take them for one: the
// second would not be answered, and could end the first. In a conntrack zone for each node they are two to the kernel,
// too, and it gives the second another port.
func raw(in Input) Table {
	const zone, zones = Prefix + "ZONE", Prefix + "ZONES"
	var zoneRules, peerRules []string
	for _, p := range in.Peers {
		if _, ok := Mark(p.Index); ok && p.MAC != "" {
			// Zone 0 is everybody else's, and that of all replies.
			peerRules = append(peerRules, fmt.Sprintf("-m mac --mac-source %s -j CT --zone-orig %d", p.MAC, p.Index+1))
		}
	}
	if len(peerRules) > 0 {
		zoneRules = []string{fmt.Sprintf("-i %s -d %s -j %s", in.Interface, in.Subnet, zones)}
	}
	return Table{
		Name:   "raw",
		Jumps:  []Jump{{"PREROUTING", zone}},
		Chains: []Chain{{zone, zoneRules}, {zones, peerRules}},
	}
}

// mangle says how replies find the way back through the node that their connection came from.
func mangle(in Input) Table {
	const mark, peers = Prefix + "MARK", Prefix + "PEERS"
	var markRules, peerRules []string
	for _, p := range in.Peers {
		if m, ok := Mark(p.Index); ok && p.MAC != "" {
			peerRules = append(peerRules, fmt.Sprintf("-m mac --mac-source %s -j CONNMARK --set-xmark %#08x/%#08x", p.MAC, m, MarkMask))
		}
	}
	if len(peerRules) > 0 {
		markRules = []string{
			// The first packet of a connection decides for all of them.
			fmt.Sprintf("-i %s -d %s -m conntrack --ctstate NEW -j %s", in.Interface, in.Subnet, peers),
			// What a container sends gets its connection's mark before it is routed.
			fmt.Sprintf("-i %s -m connmark ! --mark 0x0/%#08x -j CONNMARK --restore-mark --nfmask %#08x --ctmask %#08x",
				in.Bridge, MarkMask, MarkMask, MarkMask),
		}
	}
	return Table{
		Name:   "mangle",
		Jumps:  []Jump{{"PREROUTING", mark}},
		Chains: []Chain{{mark, markRules}, {peers, peerRules}},
	}
}

// filter says what may pass, whatever the policy of the built-in chains is; docker, for one, sets FORWARD's
// to DROP.
func filter(in Input) Table {
	const input, forward, members = Prefix + "INPUT", Prefix + "FORWARD", Prefix + "MEMBERS"

	// The node's sysctl route_localnet lets localhost reach containers. It would also let a host of the LAN
	// reach what listens on 127.0.0.1 here, so that is refused as the kernel refuses it by default
	// (CVE-2020-8558).
	inputRules := []string{
		"! -i lo -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
		// No container, of this node or of another, talks to the members' ports at any address of the node's. Those of
		// this node are known by the bridge: one that may send what it likes can send under any address.
		fmt.Sprintf("-i %s -m conntrack ! --ctstate RELATED,ESTABLISHED -j %s", in.Bridge, members),
		fmt.Sprintf("! -i lo -s %s -m conntrack ! --ctstate RELATED,ESTABLISHED -j %s", in.Pool, members),
	}
	// Containers ask the agent for names, also where the host's own firewall lets nothing in.
	for _, proto := range []string{"udp", "tcp"} {
		inputRules = append(inputRules, fmt.Sprintf("-i %s -s %s -d %s/32 -p %s -m %s --dport 53 -j ACCEPT", in.Bridge, in.Subnet, gateway(in), proto, proto))
	}

	memberRules := []string{
		fmt.Sprintf("-p tcp -m tcp --dport %d -j DROP", cluster.GossipPort),
		fmt.Sprintf("-p udp -m udp --dport %d -j DROP", cluster.GossipPort),
		fmt.Sprintf("-p tcp -m tcp --dport %d -j DROP", cluster.NodeAPIPort),
	}

	forwardRules := []string{
		// Both directions of what was let through once, here or on the node that forwards it to us. They come first: nearly
		// all packets end here.
		fmt.Sprintf("-s %s -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", in.Pool),
		fmt.Sprintf("-d %s -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", in.Pool),
		// A packet that conntrack does not recognise is not translated back; its receiver would answer with
		// a reset and end a healthy connection.
		fmt.Sprintf("-s %s -m conntrack --ctstate INVALID -j DROP", in.Pool),
		fmt.Sprintf("-d %s -m conntrack --ctstate INVALID -j DROP", in.Pool),
		// Published ports and virtual IPs.
		fmt.Sprintf("-d %s -m conntrack --ctstate DNAT -j ACCEPT", in.Pool),
		// Nor do containers talk to the members' ports of another node: at no address at all outside of the pod network,
		// for who is a member is not all known here, nor all the addresses that a member has. What comes from a node's
		// address would pass there.
		fmt.Sprintf("-i %s ! -d %s -j %s", in.Bridge, in.Pool, members),
		// Otherwise a container may talk to everyone, under its own address only.
		fmt.Sprintf("-i %s -s %s -j ACCEPT", in.Bridge, in.Subnet),
		fmt.Sprintf("-i %s -j DROP", in.Bridge),
	}
	for _, p := range in.Peers {
		if p.MAC == "" {
			continue
		}
		// Other nodes: their containers, themselves, and the clients whose connections they forward.
		forwardRules = append(forwardRules, fmt.Sprintf("-i %s -d %s -m mac --mac-source %s -j ACCEPT", in.Interface, in.Subnet, p.MAC))
	}
	// Nobody else reaches a container but through a published port: not those of this node, and not those of
	// another node by way of this one, which would count as forwarded by a member there.
	forwardRules = append(forwardRules, fmt.Sprintf("-d %s -j DROP", in.Pool))

	return Table{
		Name:   "filter",
		Jumps:  []Jump{{"INPUT", input}, {"FORWARD", forward}},
		Chains: []Chain{{input, inputRules}, {forward, forwardRules}, {members, memberRules}},
	}
}

// gateway is the node's own address on its bridge.
func gateway(in Input) netip.Addr { return in.Subnet.Masked().Addr().Next() }

// ethernet returns a hardware address as iptables-save writes it, or nothing if it is none. The rules are run
// as root and the address comes from another node, so nothing but an address gets through.
func ethernet(mac string) string {
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 {
		return ""
	}
	return hw.String()
}
