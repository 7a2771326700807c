package dns

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Domain is the domain that all names of services are below, besides having none.
const Domain = "piswarm"

// ttl is short, because tasks move. The virtual IP does not, but a service may be removed and made anew.
const ttl = 5

// Service is what there is to know of a service's name.
type Service struct {
	Name      string
	VirtualIP netip.Addr
	Tasks     []netip.Addr // the ready ones
	// Aliases are the further names that it has, by the network on which it has them; its other networks have none.
	Aliases map[string][]string
	// Askers are the addresses of its containers on this node, whatever state they are in: they know the aliases of
	// their networks.
	Askers []netip.Addr
}

// zone holds names, which are in lower case and end in a dot, with their addresses.
type zone map[string][]netip.Addr

// names are the addresses of all known names.
type names struct {
	zone
	aliases map[string]zone         // by network
	asking  map[netip.Addr][]string // the networks of those who ask
}

func index(services []Service) names {
	n := names{zone: zone{}, aliases: map[string]zone{}, asking: map[netip.Addr][]string{}}
	for _, s := range services {
		n.zone.add(s.Name, s)
		for network, aliases := range s.Aliases {
			for _, asker := range s.Askers {
				n.asking[asker] = append(n.asking[asker], network)
			}
			if n.aliases[network] == nil {
				n.aliases[network] = zone{}
			}
			for _, alias := range aliases {
				n.aliases[network].add(alias, s)
			}
		}
	}
	for _, networks := range n.asking {
		slices.Sort(networks) // of two that have the same alias, always the same one answers
	}
	return n
}

// add notes a name of a service. Several may share an alias.
func (t zone) add(name string, s Service) {
	name = strings.ToLower(name)
	var vip []netip.Addr
	if s.VirtualIP.IsValid() {
		vip = []netip.Addr{s.VirtualIP}
	}
	for _, suffix := range []string{".", "." + Domain + "."} {
		t[name+suffix] = append(t[name+suffix], vip...)
		t["tasks."+name+suffix] = append(t["tasks."+name+suffix], s.Tasks...)
	}
}

// find returns the addresses of a name as the container with that address knows it. An alias on one of its networks goes
// before the name of a service: it is what the container's own stack means.
func (n names) find(name string, asker netip.Addr) ([]netip.Addr, bool) {
	for _, network := range n.asking[asker] {
		if addrs, ok := n.aliases[network][name]; ok {
			return addrs, true
		}
	}
	addrs, ok := n.zone[name]
	return addrs, ok
}

// answer returns the answer to the query of a container for a name that is ours to answer, and nil for any other.
func (n names) answer(q *dns.Msg, asker netip.Addr) *dns.Msg {
	question := q.Question[0]
	name := strings.ToLower(question.Name)
	addrs, known := n.find(name, asker)
	inDomain := name == Domain+"." || strings.HasSuffix(name, "."+Domain+".")
	if question.Qclass != dns.ClassINET || !known && !inDomain {
		return nil
	}
	m := new(dns.Msg).SetReply(q)
	m.Authoritative, m.RecursionAvailable = true, true
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(maxUDP, false)
	}
	if !known && name != Domain+"." {
		m.Rcode = dns.RcodeNameError
		return m
	}
	// For any other type than A, a name that exists has an empty answer. A "no such name" to a question for an
	// IPv6 address would make some resolvers give up on the name.
	if question.Qtype == dns.TypeA {
		for _, a := range addrs {
			m.Answer = append(m.Answer, &dns.A{
				// The name is repeated in the letters it was asked with: some resolvers check.
				Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl},
				A:   a.AsSlice(),
			})
		}
	}
	return m
}
