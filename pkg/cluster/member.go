package cluster

import "net/netip"

// Ports that every node answers on.
const (
	GossipPort    = 7946 // tcp and udp
	NodeAPIPort   = 7947 // tcp
	DashboardPort = 7948 // tcp
)

// Member is a node as the membership sees it, or, while it is off, as the state remembers it.
type Member struct {
	ID        string
	Name      string // host name
	Address   netip.Addr
	Condition Condition
	// Unheard says that the ready node was down, and that what it says of itself may be from before that.
	Unheard bool
}

// Leader returns the ID of the leader, the ready member with the smallest ID of those that may lead, or "" if
// there is none. Every node computes it alone from the same list, so nobody votes. A node whose settings are not
// known yet may lead: that is the default.
func Leader(members []Member, settings map[string]Settings) string {
	leader := ""
	for _, m := range members {
		if m.Condition == Ready && settings[m.ID].Role != Worker && (leader == "" || m.ID < leader) {
			leader = m.ID
		}
	}
	return leader
}

// Minority tells whether this side of a partition holds less than half of the known nodes: those whose settings the
// state has. A node that is merely off counts as well as one that is cut off; nobody can tell the two apart.
func Minority(members []Member, settings map[string]Settings) bool {
	ready := 0
	for _, m := range members {
		if _, known := settings[m.ID]; known && m.Condition == Ready {
			ready++
		}
	}
	return 2*ready < len(settings)
}
