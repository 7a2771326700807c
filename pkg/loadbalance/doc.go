// Package loadbalance turns what a node knows of the cluster into the packet filter rules that carry the
// ingress: which port of which address leads to which containers.
//
// It is pure. [Plan] reads an [Input] and returns a [Ruleset], which is data with a text form in the syntax of
// iptables-restore(8). Equal inputs give equal bytes, so that whoever applies the rules can tell that there is
// nothing to do. The package knows nothing of processes or sockets; package firewall applies the rules, and
// package network makes the bridge, the routes and the policy rules that they count on.
//
// # The way of a packet
//
// A connection to a published port of node A reaches PISWARM-PORTS, from there the chain of that port, and in
// it one of the ready containers of the whole cluster, in exact round robin. Its source address stays: there is
// no SNAT on this way. If the container is on node B, A forwards the packet to B over the LAN, and B remembers
// in the connection's mark that it came from A's MAC address. The container's replies get that mark back and
// are routed through A by an ip rule (see [Mark]), because only A can undo the translation.
//
// PISWARM-PORTS has no rule for each port once there are many, but one for each block of them that leads on to a
// smaller block, and in the end to the port's chain; so has PISWARM-VIPS. A thousand services cost a new connection a
// few dozen comparisons, and a change of one of them writes its own chain anew, and at most those of its blocks.
//
// A container's connection to a service's virtual IP takes the same way through PISWARM-VIPS, with the port
// left as it is.
//
// The source address is replaced (MASQUERADE) only where a reply could not find its way otherwise:
//   - a connection from 127.0.0.0/8 of this node leaves this node for a container,
//   - a container reaches itself through its own service,
//   - another node, or a container on it, is forwarded back to a container of that same node: it would drop
//     a packet that comes from outside with its own address as the source,
//   - a container talks to something outside of the cluster.
//
// # What containers do not reach
//
// Containers talk to everybody but the members' own ports, gossip and the node API, on any machine. Only the first packet
// of a connection is compared with the ports; an established one costs no more than before.
package loadbalance
