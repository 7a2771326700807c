package cluster

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// maxPorts bounds the ports of one service: each one is a rule for every backend on every node.
const maxPorts = 256

// Ports that a service cannot publish: the agent of every node answers on them.
var agentPorts = map[uint16]string{GossipPort: "gossip", NodeAPIPort: "the node API", DashboardPort: "the dashboard"}

// String writes a port as --publish takes it, in short where that says it all.
func (p Port) String() string {
	short := fmt.Sprintf("%d:%d/%s", p.Published, p.Target, p.Protocol)
	if p.Mode == PortIngress {
		return short
	}
	return fmt.Sprintf("published=%d,target=%d,protocol=%s,mode=%s", p.Published, p.Target, p.Protocol, p.Mode)
}

// ParsePort reads the value of --publish in docker's forms: 9000:5000, 9000:5000/udp, 9000-9003:5000-5003/tcp
// and published=9000,target=5000,protocol=tcp,mode=ingress. Ranges give several ports.
func ParsePort(s string) ([]Port, error) {
	parse := parseShortPort
	if strings.ContainsRune(s, '=') {
		parse = parseLongPort
	}
	ports, err := parse(s)
	if err != nil {
		return nil, fmt.Errorf("bad published port %q: %w", shorten(s), err)
	}
	return ports, nil
}

func parseShortPort(s string) ([]Port, error) {
	rest, proto, hasProto := strings.Cut(s, "/")
	protocol := TCP
	if hasProto {
		var err error
		if protocol, err = parseProtocol(proto); err != nil {
			return nil, err
		}
	}
	published, target, ok := cutLast(rest, ":")
	if !ok {
		if _, _, err := parseRange(rest); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("name the port to publish as well: PUBLISHED:TARGET, for example 9000:%s", rest)
	}
	if address, port, ok := cutLast(published, ":"); ok {
		if _, err := netip.ParseAddr(strings.Trim(address, "[]")); err == nil {
			if _, err := pairPorts(port, target, protocol, PortIngress); err != nil {
				return nil, err
			}
			return nil, fmt.Errorf("a port is published on every address of every node: leave out the address, for example %s:%s", port, target)
		}
	}
	return pairPorts(published, target, protocol, PortIngress)
}

func parseLongPort(s string) ([]Port, error) {
	values := map[string]string{}
	for field := range strings.SplitSeq(s, ",") {
		key, value, ok := strings.Cut(field, "=")
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		switch key {
		case "published", "target", "protocol", "mode":
		default:
			return nil, fmt.Errorf("unknown key %q: want published, target, protocol and mode, for example published=9000,target=5000", shorten(key))
		}
		if !ok || value == "" {
			return nil, fmt.Errorf("%s has no value, for example published=9000,target=5000", key)
		}
		if _, twice := values[key]; twice {
			return nil, fmt.Errorf("%s is given twice", key)
		}
		values[key] = value
	}
	if values["target"] == "" {
		return nil, fmt.Errorf("target is missing, for example published=9000,target=5000")
	}
	if values["published"] == "" {
		if _, _, err := parseRange(values["target"]); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("name the port to publish as well, for example published=9000,target=%s", values["target"])
	}
	protocol, mode := TCP, PortIngress
	if v, ok := values["protocol"]; ok {
		var err error
		if protocol, err = parseProtocol(v); err != nil {
			return nil, err
		}
	}
	if v, ok := values["mode"]; ok {
		if mode = PortMode(strings.ToLower(v)); mode != PortIngress && mode != PortHost {
			return nil, fmt.Errorf("unknown mode %q: want ingress or host", shorten(v))
		}
	}
	return pairPorts(values["published"], values["target"], protocol, mode)
}

// pairPorts joins two ports, or two ranges of the same length.
func pairPorts(published, target string, protocol Protocol, mode PortMode) ([]Port, error) {
	pFirst, pLast, err := parseRange(published)
	if err != nil {
		return nil, err
	}
	tFirst, tLast, err := parseRange(target)
	if err != nil {
		return nil, err
	}
	n := pLast - pFirst + 1
	if tLast-tFirst+1 != n {
		return nil, fmt.Errorf("the two ranges differ in length (%d and %d), for example 9000-9003:5000-5003", n, tLast-tFirst+1)
	}
	if n > maxPorts {
		return nil, fmt.Errorf("a range of %d ports is too long: a service publishes at most %d", n, maxPorts)
	}
	ports := make([]Port, n)
	for i := range ports {
		ports[i] = Port{Published: uint16(pFirst + i), Target: uint16(tFirst + i), Protocol: protocol, Mode: mode}
	}
	return ports, nil
}

// parseRange reads 9000 or 9000-9003.
func parseRange(s string) (first, last int, err error) {
	a, b, isRange := strings.Cut(s, "-")
	if first, err = parsePortNumber(a); err != nil {
		return 0, 0, err
	}
	if !isRange {
		return first, first, nil
	}
	if last, err = parsePortNumber(b); err != nil {
		return 0, 0, err
	}
	if last < first {
		return 0, 0, fmt.Errorf("the range %s runs backwards, for example 9000-9003:5000-5003", s)
	}
	return first, last, nil
}

func parsePortNumber(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a port from 1 to 65535, for example 9000:5000", shorten(s))
	}
	return int(n), nil
}

func parseProtocol(s string) (Protocol, error) {
	switch p := Protocol(strings.ToLower(s)); p {
	case TCP, UDP:
		return p, nil
	}
	return "", fmt.Errorf("unknown protocol %q: want tcp or udp, for example 9000:5000/udp", shorten(s))
}

// cutLast is strings.Cut at the last sep.
func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

func (s Spec) validatePorts() error {
	if len(s.Ports) > maxPorts {
		return fmt.Errorf("%d published ports are too many: want at most %d", len(s.Ports), maxPorts)
	}
	seen := map[portKey]bool{}
	for _, p := range s.Ports {
		if p.Published == 0 || p.Target == 0 {
			return fmt.Errorf("port %s: want both ports from 1 to 65535, for example 9000:5000", p)
		}
		if p.Protocol != TCP && p.Protocol != UDP {
			return fmt.Errorf("port %d: unknown protocol %q: want tcp or udp", p.Published, shorten(string(p.Protocol)))
		}
		switch p.Mode {
		case PortIngress, PortHost:
		default:
			return fmt.Errorf("port %d: unknown mode %q: want ingress or host", p.Published, shorten(string(p.Mode)))
		}
		if owner, ok := agentPorts[p.Published]; ok {
			return fmt.Errorf("port %d is piswarm's own (%s): publish another one", p.Published, owner)
		}
		if seen[p.key()] {
			return fmt.Errorf("port %s is published twice: publish each port once", p.key())
		}
		seen[p.key()] = true
	}
	return nil
}

// portKey is what only one service can have.
type portKey struct {
	port     uint16
	protocol Protocol
}

func (p Port) key() portKey { return portKey{p.Published, p.Protocol} }

func (k portKey) String() string { return fmt.Sprintf("%d/%s", k.port, k.protocol) }

// PortConflict refuses a spec that publishes a port which another of the existing services publishes. Two may publish
// one in mode host: the scheduler keeps their tasks on different nodes. An existing service of the spec's own name
// does not count: it is the one being changed.
func PortConflict(spec Spec, existing []Service) error {
	wanted := map[portKey]PortMode{}
	for _, p := range spec.Ports {
		wanted[p.key()] = p.Mode
	}
	for _, other := range existing {
		if other.Spec.Name == spec.Name {
			continue
		}
		for _, p := range other.Spec.Ports {
			if mode, ok := wanted[p.key()]; ok && (mode != PortHost || p.Mode != PortHost) {
				return fmt.Errorf("port %s is already published by service %s: choose another one, or remove that service", p.key(), other.Spec.Name)
			}
		}
	}
	return nil
}
