package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/ipv4"
)

// HostNames answers, by multicast DNS (RFC 6762), for names that this node has: NAME.local is its address. Before it takes
// a name it asks whether somebody else on the LAN has it, and leaves it to them; it looks again once a minute, and when
// somebody contradicts it later.
//
// It hears every question on the LAN and answers those for its names, each at most once a second: that is all that it does
// while its names stay.
type HostNames struct {
	iface   string
	address netip.Addr
	log     *slog.Logger
	changed chan struct{}

	mu     sync.Mutex
	wanted map[string]bool
}

// NewHostNames returns one without names, for an address on an interface.
func NewHostNames(iface string, address netip.Addr, log *slog.Logger) *HostNames {
	return &HostNames{iface: iface, address: address, log: log, changed: make(chan struct{}, 1)}
}

// Set makes these the node's names, each without .local.
func (h *HostNames) Set(names ...string) {
	wanted := map[string]bool{}
	for _, name := range names {
		wanted[strings.ToLower(name)+"."+domain] = true
	}
	h.mu.Lock()
	same := maps.Equal(wanted, h.wanted)
	h.wanted = wanted
	h.mu.Unlock()
	if same {
		return
	}
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// everybody is where all that speak mDNS hear.
var everybody = &net.UDPAddr{IP: mdnsGroup[:], Port: mdnsPort}

const (
	probeTime   = time.Second      // to contradict a claim; RFC 6762, 8.1 has 750 ms
	claimEvery  = time.Minute      // is asked for a name that somebody else has
	claimSoon   = 4 * time.Second  // the first time: who led until now may not know yet that it does no more
	settleTime  = time.Second      // between an announcement and its repetition (RFC 6762, 8.3)
	answerEvery = time.Second      // a name is told to all (RFC 6762, 6)
	listenAgain = 10 * time.Second // after an error
)

// Run answers until ctx ends. It says goodbye then, as it does for each name that the node has no longer.
func (h *HostNames) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := h.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		h.log.Warn("this node's names at .local are not answered; trying again", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(listenAgain):
		}
	}
}

// received is a packet that came.
type received struct {
	message *dns.Msg
	from    *net.UDPAddr
}

func (h *HostNames) serve(ctx context.Context) error {
	link, err := net.InterfaceByName(h.iface)
	if err != nil {
		return err
	}
	conn, err := listenMulticast(link.Index)
	if err != nil {
		return err
	}
	defer conn.Close()
	raw := ipv4.NewPacketConn(conn)
	if err := raw.SetMulticastInterface(link); err != nil {
		return err
	}
	// Programs on this node ask, too; and who is not on the link does not get what is sent with fewer hops (RFC 6762, 11).
	if err := raw.SetMulticastLoopback(true); err != nil {
		return err
	}
	if err := raw.SetMulticastTTL(255); err != nil {
		return err
	}
	packets, broken := make(chan received), make(chan error, 1)
	go func() { broken <- readPackets(ctx, conn, packets) }()
	c := claims{address: h.address, all: map[string]*claim{}, lost: func(name string) {
		h.log.Warn("another machine on this network has the name, so this node does not answer for it", "name", strings.TrimSuffix(name, "."))
	}}
	send := func(m *dns.Msg, to *net.UDPAddr) {
		if m == nil {
			return
		}
		if packed, err := m.Pack(); err == nil {
			_, _ = conn.WriteTo(packed, to) // the LAN may be away for a moment; whoever wants to know asks again
		}
	}
	h.mu.Lock()
	send(c.want(h.wanted, time.Now()), everybody)
	h.mu.Unlock()
	for {
		var due <-chan time.Time
		if next, ok := c.next(); ok {
			due = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			send(c.want(nil, time.Now()), everybody)
			return nil
		case err := <-broken:
			return err
		case <-h.changed:
			h.mu.Lock()
			wanted := h.wanted
			h.mu.Unlock()
			send(c.want(wanted, time.Now()), everybody)
		case <-due:
			send(c.step(time.Now()), everybody)
		case p := <-packets:
			answer, to := c.hear(p.message, p.from, time.Now())
			if to == nil {
				to = everybody
			}
			send(answer, to)
		}
	}
}

// readPackets hands on what is well formed.
func readPackets(ctx context.Context, conn net.PacketConn, packets chan<- received) error {
	buffer := make([]byte, maxPacket)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return fmt.Errorf("listen for questions: %w", err)
		}
		source, ok := from.(*net.UDPAddr)
		var m dns.Msg
		if !ok || m.Unpack(buffer[:n]) != nil || m.Opcode != dns.OpcodeQuery {
			continue
		}
		select {
		case packets <- received{&m, source}:
		case <-ctx.Done():
			return nil
		}
	}
}

// claim is a name on its way to being this node's.
type claim struct {
	phase    phase
	due      time.Time // of the next step
	answered time.Time // told to all
	refused  int       // how often in a row somebody else had it
}

type phase int

const (
	asking   phase = iota // it has been asked whose it is
	settling              // announced once
	held
	foreign // somebody else's
)

// claims are a node's names. It does no I/O: what it returns is to be sent.
type claims struct {
	address netip.Addr
	all     map[string]*claim
	lost    func(name string) // is told once of a name that somebody else has, and keeps
}

// want makes the names those; it returns the goodbyes of the others and the questions about new ones.
func (c *claims) want(names map[string]bool, now time.Time) *dns.Msg {
	var bye, ask []string
	for _, name := range slices.Sorted(maps.Keys(c.all)) {
		if !names[name] {
			if p := c.all[name].phase; p == held || p == settling {
				bye = append(bye, name)
			}
			delete(c.all, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if c.all[name] == nil {
			c.all[name] = &claim{phase: asking, due: now.Add(probeTime)}
			ask = append(ask, name)
		}
	}
	switch {
	case len(bye) > 0:
		m := response()
		for _, name := range bye {
			m.Answer = append(m.Answer, c.record(name, 0, true))
		}
		for _, name := range ask {
			// One packet is not both: what is new is asked for a moment later.
			c.all[name].phase, c.all[name].due = foreign, now
		}
		return m
	case len(ask) > 0:
		return probe(ask)
	}
	return nil
}

// next is when step has something to do.
func (c *claims) next() (at time.Time, ok bool) {
	for _, one := range c.all {
		if !one.due.IsZero() && (!ok || one.due.Before(at)) {
			at, ok = one.due, true
		}
	}
	return at, ok
}

// step does what is due: it takes one name further.
func (c *claims) step(now time.Time) *dns.Msg {
	for _, name := range slices.Sorted(maps.Keys(c.all)) {
		one := c.all[name]
		if one.due.IsZero() || one.due.After(now) {
			continue
		}
		switch one.phase {
		case asking: // nobody contradicted
			one.phase, one.due, one.answered, one.refused = settling, now.Add(settleTime), now, 0
		case settling:
			one.phase, one.due, one.answered = held, time.Time{}, now
		case foreign:
			one.phase, one.due = asking, now.Add(probeTime)
			return probe([]string{name})
		}
		m := response()
		m.Answer = []dns.RR{c.record(name, nameTTL, true)}
		return m
	}
	return nil
}

// nameTTL is for how many seconds an answer may be believed (RFC 6762, 10: of records with a host's name).
const nameTTL = 120

// maxQuestions is how many of a packet's are looked at.
const maxQuestions = 32

// hear takes in a packet. What it returns is for who asked, or, where that is nil, for all.
func (c *claims) hear(m *dns.Msg, from *net.UDPAddr, now time.Time) (answer *dns.Msg, to *net.UDPAddr) {
	if m.Response {
		for _, rr := range append(slices.Clone(m.Answer), m.Extra...) {
			c.contradicted(rr, now)
		}
		return nil, nil
	}
	legacy := from.Port != mdnsPort // a simple resolver, which knows nothing of multicast (RFC 6762, 6.7)
	unicast := legacy
	var names []string
	other := false // asked for a kind of record that the name has not
	for _, q := range m.Question[:min(len(m.Question), maxQuestions)] {
		name := strings.ToLower(q.Name)
		one := c.all[name]
		const unicastWanted = 1 << 15 // RFC 6762, 5.4
		if one == nil || one.phase != held && one.phase != settling || q.Qclass&^unicastWanted != dns.ClassINET && q.Qclass&^unicastWanted != dns.ClassANY {
			continue
		}
		unicast = unicast || q.Qclass&unicastWanted != 0
		if q.Qtype != dns.TypeA && q.Qtype != dns.TypeANY {
			other = true
		}
		if !slices.Contains(names, name) && !c.knows(m, name) {
			names = append(names, name)
		}
	}
	reply := response()
	for _, name := range names {
		one := c.all[name]
		if !unicast {
			if now.Sub(one.answered) < answerEvery {
				continue
			}
			one.answered = now
		}
		reply.Answer = append(reply.Answer, c.record(name, nameTTL, !legacy))
		if other {
			// That there is nothing else of that name spares who asked for IPv6 the wait (RFC 6762, 6.1).
			reply.Extra = append(reply.Extra, &dns.NSEC{
				Hdr:        dns.RR_Header{Name: name, Rrtype: dns.TypeNSEC, Class: class(!legacy), Ttl: nameTTL},
				NextDomain: name, TypeBitMap: []uint16{dns.TypeA},
			})
		}
	}
	switch {
	case len(reply.Answer) == 0:
		return nil, nil
	case legacy:
		reply.Id, reply.Question = m.Id, m.Question
		for _, rr := range slices.Concat(reply.Answer, reply.Extra) {
			rr.Header().Ttl = 10
		}
	}
	if unicast {
		return reply, from
	}
	return reply, nil
}

// knows tells whether who asks has the answer already, and for a while (RFC 6762, 7.1).
func (c *claims) knows(m *dns.Msg, name string) bool {
	return slices.ContainsFunc(m.Answer, func(rr dns.RR) bool {
		a, ok := rr.(*dns.A)
		return ok && strings.EqualFold(a.Hdr.Name, name) && a.A.Equal(c.address.AsSlice()) && a.Hdr.Ttl >= nameTTL/2
	})
}

// contradicted looks at what somebody says that a name is. Who had it before this node asked has it. Two that took it at
// the same moment contradict each other: then it is the greater address that has it (RFC 6762, 8.2).
func (c *claims) contradicted(rr dns.RR, now time.Time) {
	a, ok := rr.(*dns.A)
	if !ok {
		return
	}
	name := strings.ToLower(a.Hdr.Name)
	one := c.all[name]
	switch {
	case one == nil:
		return
	case a.Hdr.Ttl == 0: // a goodbye
		if one.phase == foreign {
			one.due = now
		}
		return
	case one.phase == foreign:
		return
	case a.A.Equal(c.address.AsSlice()):
		if one.phase == asking {
			// Another program of this machine, Avahi for one, answers for it, and knows more of it: IPv6.
			one.phase, one.due = foreign, now.Add(claimEvery)
		}
		return // else it is this node's own word
	}
	if other, ok := netip.AddrFromSlice(a.A.To4()); one.phase != asking && ok && other.Less(c.address) {
		if one.phase == held {
			one.phase, one.due = settling, now // says so
		}
		return
	}
	const enough = 2
	if one.refused++; one.refused == enough {
		c.lost(name)
	}
	pause := claimEvery
	if one.refused < enough {
		pause = claimSoon
	}
	one.phase, one.due = foreign, now.Add(pause)
}

func (c *claims) record(name string, ttl uint32, flush bool) dns.RR {
	return &dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: class(flush), Ttl: ttl}, A: c.address.AsSlice()}
}

// class is the Internet's; flush says that the record is all that there is of its name and kind (RFC 6762, 10.2).
func class(flush bool) uint16 {
	if flush {
		return dns.ClassINET | 1<<15
	}
	return dns.ClassINET
}

func response() *dns.Msg {
	return &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}}
}

// probe asks whose the names are.
func probe(names []string) *dns.Msg {
	m := &dns.Msg{}
	for _, name := range names {
		m.Question = append(m.Question, dns.Question{Name: name, Qtype: dns.TypeA, Qclass: dns.ClassINET})
	}
	return m
}
