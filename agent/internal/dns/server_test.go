package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// resolver is a resolver of the node's, on an address of its own of the loopback network.
type resolver struct {
	mu      sync.Mutex
	queries []string
	answer  func(q *dns.Msg, network string) *dns.Msg
}

func (r *resolver) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	network := w.RemoteAddr().Network()
	r.mu.Lock()
	r.queries = append(r.queries, network+" "+q.Question[0].Name)
	r.mu.Unlock()
	if m := r.answer(q, network); m != nil {
		w.WriteMsg(m)
	}
}

func (r *resolver) asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.queries)
}

// newResolver starts one at addr:port.
func newResolver(t *testing.T, addr netip.AddrPort, answer func(q *dns.Msg, network string) *dns.Msg) *resolver {
	t.Helper()
	r := &resolver{answer: answer}
	for _, network := range []string{"udp", "tcp"} {
		started := make(chan struct{})
		s := &dns.Server{Addr: addr.String(), Net: network, Handler: r, NotifyStartedFunc: func() { close(started) }}
		done := make(chan error, 1)
		go func() { done <- s.ListenAndServe() }()
		select {
		case <-started:
		case err := <-done:
			t.Fatal(err)
		}
		t.Cleanup(func() {
			s.Shutdown()
			<-done
		})
	}
	return r
}

func reply(q *dns.Msg, rrs ...string) *dns.Msg {
	m := new(dns.Msg).SetReply(q)
	for _, s := range rrs {
		rr, err := dns.NewRR(s)
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	return m
}

// start runs a server whose node has the resolver configuration.
func start(t *testing.T, conf string) (s *Server, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "resolv.conf")
	write(t, path, conf)
	s = New(Config{Address: netip.AddrPortFrom(netip.MustParseAddr("127.7.7.1"), freePort(t)), ResolvConf: path})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run returned %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Error("Run did not return")
		}
	})
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("tcp", s.config.Address.String()); err == nil {
			c.Close()
			return s, path
		}
	}
	t.Fatal("the server does not listen")
	return nil, ""
}

// freePort finds a port that is free by udp and tcp on the test's addresses.
func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp4", "127.7.7.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

// write replaces a file as DHCP clients do.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// query asks the server and returns the answer in one line: code, then the records.
func query(t *testing.T, s *Server, network, name string, qtype uint16) string {
	t.Helper()
	c := dns.Client{Net: network, Timeout: 8 * time.Second}
	q := new(dns.Msg).SetQuestion(name, qtype)
	m, _, err := c.Exchange(q, s.config.Address.String())
	if err != nil {
		t.Fatalf("%s %s: %v", network, name, err)
	}
	return render(m)
}

func render(m *dns.Msg) string {
	text := dns.RcodeToString[m.Rcode]
	if m.Truncated {
		text += " truncated"
	}
	for _, rr := range m.Answer {
		text += " | " + strings.ReplaceAll(rr.String(), "\t", " ")
	}
	return text
}

func addrs(s ...string) (list []netip.Addr) {
	for _, a := range s {
		list = append(list, netip.MustParseAddr(a))
	}
	return list
}

var table = []Service{
	{Name: "greeters", VirtualIP: netip.MustParseAddr("10.77.255.1"), Tasks: addrs("10.77.1.2", "10.77.2.2")},
	{Name: "idle", VirtualIP: netip.MustParseAddr("10.77.255.2")},
}

func TestNamesOfServices(t *testing.T) {
	s, _ := start(t, "")
	s.Set(table)
	for _, test := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"greeters.", dns.TypeA, "NOERROR | greeters. 5 IN A 10.77.255.1"},
		{"GreeTers.", dns.TypeA, "NOERROR | GreeTers. 5 IN A 10.77.255.1"},
		{"greeters.piswarm.", dns.TypeA, "NOERROR | greeters.piswarm. 5 IN A 10.77.255.1"},
		{"tasks.greeters.", dns.TypeA, "NOERROR | tasks.greeters. 5 IN A 10.77.1.2 | tasks.greeters. 5 IN A 10.77.2.2"},
		{"tasks.greeters.piswarm.", dns.TypeA, "NOERROR | tasks.greeters.piswarm. 5 IN A 10.77.1.2 | tasks.greeters.piswarm. 5 IN A 10.77.2.2"},
		{"greeters.", dns.TypeAAAA, "NOERROR"},
		{"greeters.", dns.TypeMX, "NOERROR"},
		{"idle.", dns.TypeA, "NOERROR | idle. 5 IN A 10.77.255.2"},
		{"tasks.idle.", dns.TypeA, "NOERROR"},
		{"nobody.piswarm.", dns.TypeA, "NXDOMAIN"},
		{"nobody.", dns.TypeA, "SERVFAIL"}, // Not ours, and the node has no resolver.
	} {
		for _, network := range []string{"udp", "tcp"} {
			if got := query(t, s, network, test.name, test.qtype); got != test.want {
				t.Errorf("%s %s %s: got %q, want %q", network, test.name, dns.TypeToString[test.qtype], got, test.want)
			}
		}
	}
	s.Set(nil)
	if got := query(t, s, "udp", "greeters.", dns.TypeA); got != "SERVFAIL" {
		t.Errorf("after the service is gone: %q", got)
	}
}

// An answer that is too long for udp is cut, and whole over tcp.
func TestManyTasks(t *testing.T) {
	s, _ := start(t, "")
	big := Service{Name: "big", VirtualIP: netip.MustParseAddr("10.77.255.3")}
	for i := range 100 {
		big.Tasks = append(big.Tasks, netip.AddrFrom4([4]byte{10, 77, 3, byte(2 + i)}))
	}
	s.Set([]Service{big})
	if got := query(t, s, "udp", "tasks.big.", dns.TypeA); !strings.HasPrefix(got, "NOERROR truncated") {
		t.Errorf("by udp: %q", got)
	}
	if got := query(t, s, "tcp", "tasks.big.", dns.TypeA); strings.Contains(got, "truncated") || strings.Count(got, "|") != 100 {
		t.Errorf("by tcp: %q", got)
	}
}

func TestForwarding(t *testing.T) {
	s, path := start(t, "")
	port := s.config.Address.Port()
	at := func(last byte) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 7, 7, last}), port)
	}
	s.upstream.port = fmt.Sprint(port)
	good := newResolver(t, at(2), func(q *dns.Msg, network string) *dns.Msg {
		if q.Question[0].Name == "long.example." && network == "udp" {
			m := reply(q)
			m.Truncated = true
			return m
		}
		return reply(q, q.Question[0].Name+" 60 IN A 192.0.2.1")
	})
	refuses := newResolver(t, at(3), func(q *dns.Msg, _ string) *dns.Msg { return new(dns.Msg).SetRcode(q, dns.RcodeRefused) })
	silent := newResolver(t, at(4), func(*dns.Msg, string) *dns.Msg { return nil })
	lies := newResolver(t, at(5), func(q *dns.Msg, _ string) *dns.Msg {
		other := q.Copy()
		other.Question[0].Name = "other.example."
		return reply(other, "other.example. 60 IN A 192.0.2.66")
	})
	unknown := newResolver(t, at(6), func(q *dns.Msg, _ string) *dns.Msg { return new(dns.Msg).SetRcode(q, dns.RcodeNameError) })

	const found = "NOERROR | www.example. 60 IN A 192.0.2.1"
	for _, test := range []struct {
		name, conf, want string
		first            *resolver
	}{
		{"one", "nameserver 127.7.7.2\n", found, good},
		{"the first refuses", "nameserver 127.7.7.3\nnameserver 127.7.7.2\n", found, refuses},
		{"the first is silent", "nameserver 127.7.7.4\nnameserver 127.7.7.2\n", found, silent},
		{"the first answers something else", "nameserver 127.7.7.5\nnameserver 127.7.7.2\n", found, lies},
		{"the first knows that there is none", "nameserver 127.7.7.6\nnameserver 127.7.7.2\n", "NXDOMAIN", unknown},
		{"only itself", "nameserver 127.7.7.1\n", "SERVFAIL", nil},
		{"itself and another", "nameserver 127.7.7.1\nnameserver 127.7.7.2\n", found, good},
		{"nobody listens", "nameserver 127.7.7.9\n", "SERVFAIL", nil},
		{"all refuse", "nameserver 127.7.7.3\n", "REFUSED", refuses},
		{"none", "# nothing\n", "SERVFAIL", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			write(t, path, test.conf)
			for _, network := range []string{"udp", "tcp"} {
				before := 0
				if test.first != nil {
					before = len(test.first.asked())
				}
				if got := query(t, s, network, "www.example.", dns.TypeA); got != test.want {
					t.Errorf("by %s: got %q, want %q", network, got, test.want)
				}
				if test.first != nil {
					asked := test.first.asked()[before:]
					if !slices.Contains(asked, network+" www.example.") {
						t.Errorf("by %s: the first resolver was asked %q", network, asked)
					}
				}
			}
		})
	}

	write(t, path, "nameserver 127.7.7.2\n")
	if got := query(t, s, "udp", "long.example.", dns.TypeA); got != "NOERROR truncated" {
		t.Errorf("a long answer by udp: %q", got)
	}
	if got := query(t, s, "tcp", "long.example.", dns.TypeA); got != "NOERROR | long.example. 60 IN A 192.0.2.1" {
		t.Errorf("a long answer by tcp: %q", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := query(t, s, "udp", "www.example.", dns.TypeA); got != "SERVFAIL" {
		t.Errorf("without a configuration: %q", got)
	}
}

// Names of services are answered while all that is forwarded hangs, and what is too much fails at once.
func TestHangingResolverHoldsNobodyUp(t *testing.T) {
	s, path := start(t, "")
	port := s.config.Address.Port()
	s.upstream.port = fmt.Sprint(port)
	held := newResolver(t, netip.AddrPortFrom(netip.MustParseAddr("127.7.7.4"), port), func(*dns.Msg, string) *dns.Msg { return nil })
	write(t, path, "nameserver 127.7.7.4\n")
	s.Set(table)

	var wg sync.WaitGroup
	for i := range maxForwarded {
		wg.Go(func() {
			c := dns.Client{Timeout: 8 * time.Second}
			m, _, err := c.Exchange(new(dns.Msg).SetQuestion(fmt.Sprintf("n%d.example.", i), dns.TypeA), s.config.Address.String())
			if err != nil || m.Rcode != dns.RcodeServerFailure {
				t.Errorf("query %d: %v, %v", i, m, err)
			}
		})
	}
	for end := time.Now().Add(5 * time.Second); len(s.upstream.slots) < maxForwarded; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d queries wait, want %d", len(s.upstream.slots), maxForwarded)
		}
	}
	begin := time.Now()
	if got := query(t, s, "udp", "greeters.", dns.TypeA); got != "NOERROR | greeters. 5 IN A 10.77.255.1" {
		t.Errorf("a service: %q", got)
	}
	if got := query(t, s, "udp", "more.example.", dns.TypeA); got != "SERVFAIL" {
		t.Errorf("one more: %q", got)
	}
	if took := time.Since(begin); took > attempt {
		t.Errorf("it took %s", took)
	}
	wg.Wait()
	if slices.Contains(held.asked(), "udp more.example.") {
		t.Error("the query too much was forwarded")
	}
}

// Queries during a change see one table or the other.
func TestSetIsAtomic(t *testing.T) {
	s, _ := start(t, "")
	a := []Service{{Name: "x", VirtualIP: addrs("10.0.0.1")[0], Tasks: addrs("10.0.0.1")}}
	b := []Service{{Name: "x", VirtualIP: addrs("10.0.0.2")[0], Tasks: addrs("10.0.0.2", "10.0.0.2")}}
	s.Set(a)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			s.Set(b)
			s.Set(a)
		}
	})
	for range 200 {
		got := query(t, s, "udp", "tasks.x.", dns.TypeA)
		if got != "NOERROR | tasks.x. 5 IN A 10.0.0.1" && got != "NOERROR | tasks.x. 5 IN A 10.0.0.2 | tasks.x. 5 IN A 10.0.0.2" {
			t.Fatalf("got %q", got)
		}
	}
	cancel()
	wg.Wait()
}

func TestRunSaysWhyItCannot(t *testing.T) {
	l, err := net.ListenPacket("udp4", "127.7.7.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := New(Config{Address: l.LocalAddr().(*net.UDPAddr).AddrPort()})
	err = s.Run(context.Background())
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("error is %v", err)
	}
	if errors.Is(err, context.Canceled) {
		t.Error("it is told like an end that was wanted")
	}
}

// A container cannot open connections without end.
func TestConnectionsAreBounded(t *testing.T) {
	s, _ := start(t, "")
	s.Set(table)
	for range maxConns {
		c, err := net.Dial("tcp", s.config.Address.String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	// They say nothing and are dropped after a while; then the next has its turn.
	begin := time.Now()
	if got := query(t, s, "tcp", "greeters.", dns.TypeA); got != "NOERROR | greeters. 5 IN A 10.77.255.1" {
		t.Errorf("got %q", got)
	}
	if took := time.Since(begin); took < 500*time.Millisecond {
		t.Errorf("it took %s: nothing was bounded", took)
	}
}
