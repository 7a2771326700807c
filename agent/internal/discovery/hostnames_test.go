package discovery

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

var (
	lower, higher = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.9")
	began         = time.Unix(1000, 0)
	neighbour     = &net.UDPAddr{IP: net.IPv4(192, 0, 2, 50), Port: 5353}
)

func newClaims(address netip.Addr, lost *[]string) *claims {
	return &claims{address: address, all: map[string]*claim{}, lost: func(name string) { *lost = append(*lost, name) }}
}

func names(list ...string) map[string]bool {
	m := map[string]bool{}
	for _, n := range list {
		m[n] = true
	}
	return m
}

func ask(kind, class uint16, list ...string) *dns.Msg {
	m := &dns.Msg{}
	for _, n := range list {
		m.Question = append(m.Question, dns.Question{Name: n, Qtype: kind, Qclass: class})
	}
	return m
}

// take has a name claimed and waits for it.
func (c *claims) take(name string) time.Time {
	c.want(names(name), began)
	now := began
	for range 2 {
		now, _ = c.next()
		c.step(now)
	}
	return now
}

func TestNameIsAskedForAndThenAnnounced(t *testing.T) {
	c := newClaims(lower, new([]string))
	q := c.want(names("pi1.local."), began)
	if q == nil || q.Response || q.Question[0].Name != "pi1.local." {
		t.Fatalf("the first is not a question: %v", q)
	}
	if m, _ := c.hear(ask(dns.TypeA, dns.ClassINET, "pi1.local."), neighbour, began); m != nil {
		t.Errorf("it answers for a name that it does not have yet: %v", m)
	}
	for range 2 {
		at, ok := c.next()
		m := c.step(at)
		if !ok || m == nil || !m.Response || !m.Answer[0].(*dns.A).A.Equal(lower.AsSlice()) || m.Answer[0].Header().Ttl != nameTTL {
			t.Fatalf("announced as %v", m)
		}
	}
	if at, ok := c.next(); ok {
		t.Errorf("there is something to do at %s for a name that it has", at)
	}
	if m := c.want(nil, began); m == nil || m.Answer[0].Header().Ttl != 0 {
		t.Errorf("no goodbye: %v", m)
	}
}

func TestAnswers(t *testing.T) {
	c := newClaims(lower, new([]string))
	now := c.take("pi1.local.").Add(time.Minute)
	m, to := c.hear(ask(dns.TypeA, dns.ClassINET, "PI1.local."), neighbour, now)
	if m == nil || to != nil || m.Answer[0].Header().Class != dns.ClassINET|1<<15 {
		t.Errorf("to all: %v, to %v", m, to)
	}
	if m, _ := c.hear(ask(dns.TypeA, dns.ClassINET, "pi1.local."), neighbour, now.Add(time.Second/2)); m != nil {
		t.Error("told to all twice in a second")
	}
	m, to = c.hear(ask(dns.TypeA, dns.ClassINET|1<<15, "pi1.local."), neighbour, now)
	if m == nil || to != neighbour {
		t.Errorf("to one: %v, to %v", m, to)
	}
	m, to = c.hear(ask(dns.TypeAAAA, dns.ClassINET|1<<15, "pi1.local."), neighbour, now)
	if m == nil || to != neighbour || len(m.Extra) != 1 {
		t.Errorf("it does not say that there is no IPv6: %v", m)
	}
	simple := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 50), Port: 40000}
	q := ask(dns.TypeA, dns.ClassINET, "pi1.local.")
	q.Id = 77
	m, to = c.hear(q, simple, now)
	if m == nil || to != simple || m.Id != 77 || len(m.Question) != 1 || m.Answer[0].Header().Ttl != 10 || m.Answer[0].Header().Class != dns.ClassINET {
		t.Errorf("to a simple resolver: %v, to %v", m, to)
	}
	q = ask(dns.TypeA, dns.ClassINET|1<<15, "pi1.local.")
	q.Answer = []dns.RR{c.record("pi1.local.", nameTTL, false)}
	if m, _ := c.hear(q, neighbour, now); m != nil {
		t.Errorf("it tells what is known: %v", m)
	}
	for _, q := range []*dns.Msg{
		ask(dns.TypeA, dns.ClassINET, "pi2.local."), ask(dns.TypeA, dns.ClassCHAOS, "pi1.local."), {},
	} {
		if m, _ := c.hear(q, neighbour, now.Add(time.Hour)); m != nil {
			t.Errorf("%v is answered", q.Question)
		}
	}
}

func contradiction(name string, address netip.Addr) *dns.Msg {
	other := claims{address: address}
	m := response()
	m.Answer = []dns.RR{other.record(name, nameTTL, true)}
	return m
}

func TestNameOfSomebodyElse(t *testing.T) {
	var lost []string
	c := newClaims(higher, &lost)
	c.want(names("nas.local."), began)
	at := began
	for i, pause := range []time.Duration{claimSoon, claimEvery, claimEvery} {
		c.hear(contradiction("nas.local.", lower), neighbour, at)
		next, _ := c.next()
		if next.Sub(at) != pause || len(lost) != min(i, 1) {
			t.Fatalf("refused %d times: asked again after %s, and told of %v", i+1, next.Sub(at), lost)
		}
		if m := c.step(next); m == nil || m.Response {
			t.Fatalf("it does not ask: %v", m)
		}
		at = next
	}
	// It is free at last.
	at, _ = c.next()
	if m := c.step(at); m == nil || !m.Response {
		t.Fatalf("%v", m)
	}
}

// TestGoodbyeFreesAName: who leads no more says so, and the next leader need not wait.
func TestGoodbyeFreesAName(t *testing.T) {
	c := newClaims(higher, new([]string))
	c.want(names("piswarm.local."), began)
	c.hear(contradiction("piswarm.local.", lower), neighbour, began)
	bye := contradiction("piswarm.local.", lower)
	bye.Answer[0].Header().Ttl = 0
	c.hear(bye, neighbour, began)
	if at, ok := c.next(); !ok || at.After(began) {
		t.Errorf("it waits until %s", at.Sub(began))
	}
}

func TestNameThatAnotherProgramAnswers(t *testing.T) {
	var lost []string
	c := newClaims(lower, &lost)
	c.want(names("pi1.local."), began)
	c.hear(contradiction("pi1.local.", lower), neighbour, began)
	if at, _ := c.next(); len(lost) != 0 || at.Sub(began) < claimEvery {
		t.Errorf("lost %v, next after %s", lost, at.Sub(began))
	}
	if m, _ := c.hear(ask(dns.TypeA, dns.ClassINET, "pi1.local."), neighbour, began); m != nil {
		t.Errorf("it answers beside the other: %v", m)
	}
}

func TestTwoTakeANameAtOnce(t *testing.T) {
	low, high := newClaims(lower, new([]string)), newClaims(higher, new([]string))
	now := low.take("piswarm.local.")
	high.take("piswarm.local.")
	low.hear(contradiction("piswarm.local.", higher), neighbour, now)
	high.hear(contradiction("piswarm.local.", lower), neighbour, now)
	if low.all["piswarm.local."].phase != foreign || high.all["piswarm.local."].phase == foreign {
		t.Fatal("not the higher one has it")
	}
	if at, ok := high.next(); !ok || at.After(now) {
		t.Error("the one that keeps it does not say so")
	}
}

// TestHostNames asks a real one on the loopback.
func TestHostNames(t *testing.T) {
	h := NewHostNames("lo", netip.MustParseAddr("127.0.0.1"), slog.New(slog.DiscardHandler))
	h.Set("Test-Piswarm")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		h.Run(ctx)
		close(done)
	}()
	defer func() {
		stop()
		<-done
	}()
	link, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := listenMulticast(link.Index)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	for buffer := make([]byte, maxPacket); ; {
		n, _, err := conn.ReadFrom(buffer)
		if err != nil {
			t.Fatal("nothing was announced: ", err)
		}
		var m dns.Msg
		if m.Unpack(buffer[:n]) == nil && m.Response && len(m.Answer) == 1 && m.Answer[0].Header().Name == "test-piswarm.local." {
			return
		}
	}
}

// FuzzHostNames wants of any packet no more than an answer of one record a name.
func FuzzHostNames(f *testing.F) {
	for _, m := range []*dns.Msg{ask(dns.TypeANY, dns.ClassANY, "pi1.local.", "pi1.local."), contradiction("pi1.local.", higher), probe([]string{"pi1.local."})} {
		packed, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed, uint16(5353))
		f.Add(packed, uint16(99))
	}
	f.Fuzz(func(t *testing.T, raw []byte, port uint16) {
		var m dns.Msg
		if m.Unpack(raw) != nil {
			return
		}
		c := newClaims(lower, new([]string))
		now := c.take("pi1.local.").Add(time.Hour)
		answer, _ := c.hear(&m, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 50), Port: int(port)}, now)
		if answer != nil && len(answer.Answer) != 1 {
			t.Fatalf("%v is answered with %v", m, answer)
		}
		if answer != nil {
			if _, err := answer.Pack(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
