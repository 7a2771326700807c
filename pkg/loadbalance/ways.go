package loadbalance

import (
	"slices"
	"strconv"
	"strings"
)

// way is a published port or a virtual IP: the rule that leads to it, and the chain that spreads its connections over
// the tasks.
type way struct {
	entry
	chain Chain
}

// ways are the rules of all services that lead to their tasks.
type ways struct {
	ports, vips []entry
	chains      []Chain
}

// servicePart is what a service has of them, and what that was planned from.
type servicePart struct {
	of          Service
	ports, vips []way
}

// ways puts together what each service has, of which it writes only what has changed since the last time.
//
// A port that leads to no ready container has no way, so that the kernel refuses the connection; nor has a virtual IP,
// for which the range's unreachable route answers.
func (p *Planner) ways(services []Service) ways {
	type key struct {
		family *family
		key    uint32
	}
	seen := make(map[key]bool, 2*len(services))
	parts := make(map[string]servicePart, len(services))
	all := ways{
		ports:  make([]entry, 0, len(services)),
		vips:   make([]entry, 0, len(services)),
		chains: make([]Chain, 0, 2*len(services)),
	}
	take := func(found []way, into *[]entry) {
		for _, w := range found {
			// Whom a port or an address belongs to is decided by who fills in the services. Should it be told of two, a
			// chain can be made only once.
			if k := (key{w.family, w.key}); !seen[k] {
				seen[k] = true
				*into = append(*into, w.entry)
				all.chains = append(all.chains, w.chain)
			}
		}
	}
	for _, s := range services {
		part, known := p.parts[s.Name]
		if !known || !part.of.equal(s) {
			part = planService(s)
		}
		parts[s.Name] = part
		take(part.ports, &all.ports)
		take(part.vips, &all.vips)
	}
	p.parts = parts
	return all
}

func planService(s Service) servicePart {
	part := servicePart{of: s.clone()}
	for _, p := range s.Ports {
		family := portFamilies[p.Protocol]
		if family == nil || len(p.Targets) == 0 {
			continue
		}
		targets := make([]string, len(p.Targets))
		for i, t := range p.Targets {
			targets[i] = "-p " + string(p.Protocol) + " -j DNAT --to-destination " + t.String()
		}
		port := uint32(p.Published)
		part.ports = append(part.ports, newWay(family, port, family.match(port, port), s.Name, family.chain(port, port), targets))
	}
	if s.VirtualIP.Is4() && len(s.Backends) > 0 {
		targets := make([]string, len(s.Backends))
		for i, b := range s.Backends {
			targets[i] = "-j DNAT --to-destination " + b.String()
		}
		address := s.VirtualIP.String()
		part.vips = []way{newWay(virtual, number(s.VirtualIP), "-d "+address+"/32", s.Name, Prefix+"VIP-"+address, targets)}
	}
	return part
}

func newWay(of *family, key uint32, match, note, chain string, targets []string) way {
	rule := match + " -m comment --comment " + comment(note) + " -j " + chain
	return way{entry{of, key, rule}, Chain{chain, roundRobin(targets)}}
}

func (s Service) equal(o Service) bool {
	return s.Name == o.Name && s.VirtualIP == o.VirtualIP && slices.Equal(s.Backends, o.Backends) &&
		slices.EqualFunc(s.Ports, o.Ports, func(a, b Port) bool {
			return a.Published == b.Published && a.Protocol == b.Protocol && slices.Equal(a.Targets, b.Targets)
		})
}

// clone is a copy that shares nothing that may be changed.
func (s Service) clone() Service {
	s.Backends, s.Ports = slices.Clone(s.Backends), slices.Clone(s.Ports)
	for i := range s.Ports {
		s.Ports[i].Targets = slices.Clone(s.Ports[i].Targets)
	}
	return s
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
