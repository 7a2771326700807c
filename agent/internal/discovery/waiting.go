package discovery

import (
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// Waiting is a node that is in no cluster, and says so to whoever listens on the LAN. It proves nothing: it is a
// proposal to the person who reads it, who admits the node by other means or does not.
type Waiting struct {
	ID       string
	Name     string // host name; may be empty
	Platform cluster.Platform
	Version  string     // of piswarm
	Address  netip.Addr // that its word comes from
}

// AnnounceWaiting answers for this node, as one that is in no cluster, until Close of what it returns.
func AnnounceWaiting(self Waiting, iface, life string) (io.Closer, error) {
	t := text{ID: self.ID, Name: self.Name, Platform: self.Platform.String(), Version: self.Version}
	if cluster.ValidateNodeName(t.Name) != nil {
		t.Name = ""
	}
	if _, ok := parseText(t.record()); !ok {
		return nil, fmt.Errorf("announce by mDNS on %s: other nodes would not understand %q", iface, t.record())
	}
	// Nobody answers at the port yet; a service has to name one.
	return announce(t, iface, "waiting-"+self.ID+"-"+life, netip.AddrPortFrom(self.Address, cluster.GossipPort))
}

// parsePlatform reads what Platform.String wrote.
func parsePlatform(s string) cluster.Platform {
	parts := append(strings.Split(s, "/"), "", "", "")
	return cluster.Platform{OS: parts[0], Arch: parts[1], Variant: parts[2]}
}
