package dns

import (
	"net/netip"
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
}

// names are the addresses of all known names, which are in lower case and end in a dot.
type names map[string][]netip.Addr

func index(services []Service) names {
	n := names{}
	for _, s := range services {
		name := strings.ToLower(s.Name)
		var vip []netip.Addr
		if s.VirtualIP.IsValid() {
			vip = []netip.Addr{s.VirtualIP}
		}
		for _, suffix := range []string{".", "." + Domain + "."} {
			n[name+suffix] = vip
			n["tasks."+name+suffix] = append([]netip.Addr(nil), s.Tasks...)
		}
	}
	return n
}

// answer returns the answer to a query for a name that is ours to answer, and nil for any other.
func (n names) answer(q *dns.Msg) *dns.Msg {
	question := q.Question[0]
	name := strings.ToLower(question.Name)
	addrs, known := n[name]
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
