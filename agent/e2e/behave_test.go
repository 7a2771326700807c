package e2e

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/tls"
	bits "encoding/binary" // the tests have a binary of their own
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/piswarm/piswarm/agent/internal/api"
	"github.com/piswarm/piswarm/agent/internal/gossip"
	"github.com/piswarm/piswarm/agent/internal/trust"
)

// strangerArg makes the test program a stranger, for it to be run on the laptop.
const strangerArg = "be-a-stranger"

// strangerPlan is what a stranger knows and is to do.
type strangerPlan struct {
	Lasts   time.Duration
	Targets []string // addresses of the nodes
	Cluster string   // its public ID
	Said    recording
}

// toldStranger is what came of it.
type toldStranger struct {
	Done     map[string]int64 // how often it came to each
	Answered int64            // requests to the node API that were answered with something
	Members  int64            // others in the cluster that a node with a wrong secret finds itself in
	text     string
}

// stranger is somebody on the LAN who does not know the secret.
type stranger struct {
	plan     strangerPlan
	ports    []int
	counts   sync.Map // name → *atomic.Int64
	answered atomic.Int64
	members  atomic.Int64
	bomb     []byte
}

func beStranger(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var s stranger
	if err := json.Unmarshal(raw, &s.plan); err != nil {
		return err
	}
	// The agents' ports, the dashboard's, and the neighbours of the one that is published.
	s.ports = []int{gossipPort, 7947, 7948, 8999, 9001, 5000, 22, 53}
	s.bomb = gzipBomb()
	ctx, stop := context.WithTimeout(context.Background(), s.plan.Lasts)
	defer stop()
	var work sync.WaitGroup
	for _, target := range s.plan.Targets {
		for name, do := range map[string]struct {
			act   func(ctx context.Context, target string) bool
			pause time.Duration
			many  int
		}{
			"junk by TCP":                   {s.junkTCP, 5 * time.Millisecond, 2},
			"junk by UDP":                   {s.junkUDP, 5 * time.Millisecond, 1},
			"junk by mDNS":                  {s.junkDNS, 10 * time.Millisecond, 1},
			"a slow request":                {s.slow, 10 * time.Millisecond, 40},
			"a stream of 20 MB":             {s.greedy, 20 * time.Millisecond, 4},
			"a request without certificate": {s.nameless, 20 * time.Millisecond, 2},
			"a request with a wrong one":    {s.alien, 20 * time.Millisecond, 2},
			"a packet of the recording":     {s.replay, 4 * time.Millisecond, 1},
			"a stream of the recording":     {s.replayStream, 50 * time.Millisecond, 1},
		} {
			for range do.many {
				n := s.count(name)
				work.Go(func() {
					for ctx.Err() == nil {
						if do.act(ctx, target) {
							n.Add(1)
						}
						select {
						case <-ctx.Done():
						case <-time.After(do.pause):
						}
					}
				})
			}
		}
	}
	work.Go(func() { s.forge(ctx) })
	work.Go(func() { s.wrongSecret(ctx) })
	work.Wait()
	told := toldStranger{Done: map[string]int64{}, Answered: s.answered.Load(), Members: s.members.Load()}
	s.counts.Range(func(name, n any) bool {
		told.Done[name.(string)] = n.(*atomic.Int64).Load()
		return true
	})
	return json.NewEncoder(os.Stdout).Encode(told)
}

func (s *stranger) count(name string) *atomic.Int64 {
	n, _ := s.counts.LoadOrStore(name, new(atomic.Int64))
	return n.(*atomic.Int64)
}

// gzipBomb is a gigabyte of nothing.
func gzipBomb() []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	zeros := make([]byte, 1<<20)
	for range 1 << 10 {
		_, _ = w.Write(zeros) // memory does not fail
	}
	_ = w.Close()
	return out.Bytes()
}

func junk(most int) []byte {
	b := make([]byte, 1+mrand.IntN(most))
	_, _ = rand.Read(b) // never fails
	// Often with a beginning that means something to somebody: kinds of memberlist's messages, TLS, HTTP.
	if heads := [][]byte{{10}, {9}, {244}, {12}, {22, 3, 1}, []byte("GET /v1/token HTTP/1.1\r\nHost: x\r\n\r\n"), []byte("POST /node/v1/state HTTP/1.1\r\n")}; mrand.IntN(3) > 0 {
		copy(b, heads[mrand.IntN(len(heads))])
	}
	return b
}

func dial(ctx context.Context, network, target string, port int) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, network, net.JoinHostPort(target, fmt.Sprint(port)))
	if err == nil {
		err = c.SetDeadline(time.Now().Add(10 * time.Second))
	}
	return c, err
}

func (s *stranger) junkTCP(ctx context.Context, target string) bool {
	c, err := dial(ctx, "tcp", target, s.ports[mrand.IntN(len(s.ports))])
	if err != nil {
		return false
	}
	defer c.Close()
	_, err = c.Write(junk(64 << 10))
	return err == nil
}

func (s *stranger) junkUDP(ctx context.Context, target string) bool {
	c, err := dial(ctx, "udp", target, gossipPort)
	if err != nil {
		return false
	}
	defer c.Close()
	for range 5 {
		_, err = c.Write(junk(1400))
	}
	return err == nil
}

func (s *stranger) junkDNS(ctx context.Context, target string) bool {
	c, err := dial(ctx, "udp", target, 5353)
	if err != nil {
		return false
	}
	defer c.Close()
	_, err = c.Write(junk(1400))
	return err == nil
}

// slow begins a connection to one of the agent's ports and says a byte a second.
func (s *stranger) slow(ctx context.Context, target string) bool {
	c, err := dial(ctx, "tcp", target, []int{gossipPort, 7947}[mrand.IntN(2)])
	if err != nil {
		return false
	}
	defer c.Close()
	for _, b := range []byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 0, 0, 0, 0, 0, 0} {
		if _, err := c.Write([]byte{b}); err != nil {
			return true
		}
		select {
		case <-ctx.Done():
			return true
		case <-time.After(time.Second):
		}
	}
	return true
}

// greedy says to the gossip that twenty megabytes will come, and sends as many of them as are taken.
func (s *stranger) greedy(ctx context.Context, target string) bool {
	c, err := dial(ctx, "tcp", target, gossipPort)
	if err != nil {
		return false
	}
	defer c.Close()
	_, err = c.Write(bits.BigEndian.AppendUint32([]byte{10}, 20<<20-1))
	for chunk, n := make([]byte, 16<<10), 0; err == nil && n < 20<<20 && ctx.Err() == nil; n += len(chunk) {
		_, err = c.Write(chunk)
	}
	return true
}

// nameless and alien send requests to the node API, with bombs in them.
func (s *stranger) nameless(ctx context.Context, target string) bool {
	return s.request(ctx, target, &tls.Config{InsecureSkipVerify: true})
}

func (s *stranger) alien(ctx context.Context, target string) bool {
	self, err := trust.NewIdentity(trust.Keyring{Primary: trust.NewSecret()}, "aaaa1111")
	if err != nil {
		return false
	}
	config := self.Client("aaaa1111")
	config.InsecureSkipVerify = true
	return s.request(ctx, target, config)
}

func (s *stranger) request(ctx context.Context, target string, config *tls.Config) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	path := []string{api.ExchangePath, api.AgePath, "/v1/services", "/v1/token", "/v1/images/load", "/v2/x/blobs/sha256:" + strings.Repeat("a", 64)}[mrand.IntN(6)]
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+net.JoinHostPort(target, "7947")+path, bytes.NewReader(s.bomb))
	if err != nil {
		return false
	}
	request.Header.Set("Content-Encoding", "gzip")
	request.Header.Set("X-Long", strings.Repeat("x", mrand.IntN(64<<10)))
	response, err := transport.RoundTrip(request)
	if err == nil {
		s.answered.Add(1)
		_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20))
		response.Body.Close()
	}
	return true
}

func (s *stranger) replay(ctx context.Context, target string) bool {
	if len(s.plan.Said.Packets) == 0 {
		return false
	}
	c, err := dial(ctx, "udp", target, gossipPort)
	if err != nil {
		return false
	}
	defer c.Close()
	for range 2 {
		_, err = c.Write(s.plan.Said.Packets[mrand.IntN(len(s.plan.Said.Packets))])
	}
	return err == nil
}

func (s *stranger) replayStream(ctx context.Context, target string) bool {
	if len(s.plan.Said.Streams) == 0 {
		return false
	}
	c, err := dial(ctx, "tcp", target, gossipPort)
	if err != nil {
		return false
	}
	defer c.Close()
	if _, err := c.Write(s.plan.Said.Streams[mrand.IntN(len(s.plan.Said.Streams))]); err != nil {
		return false
	}
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, _ = io.Copy(io.Discard, io.LimitReader(c, 1<<20))
	return true
}

// wrongSecret is a node with another secret that wants to be a member.
func (s *stranger) wrongSecret(ctx context.Context) {
	n := s.count("an attempt to join with a wrong secret")
	g, err := gossip.Start(gossip.Config{
		ID: "ffffffffffffffff", Key: trust.NewSecret().GossipKey(), Address: netip.MustParseAddr(lanLaptop), Port: gossipPort, Name: "pi9",
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return
	}
	defer g.Close()
	for ctx.Err() == nil {
		for _, target := range s.plan.Targets {
			joined, _ := g.Join([]netip.AddrPort{netip.MustParseAddrPort(net.JoinHostPort(target, fmt.Sprint(gossipPort)))})
			s.members.Add(int64(joined))
			n.Add(1)
		}
		s.members.Add(int64(len(g.Members()) - 1))
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// forge answers, by mDNS, for nodes without number that are everywhere.
func (s *stranger) forge(ctx context.Context) {
	n := s.count("a forged answer by mDNS")
	c, err := new(net.Dialer).DialContext(ctx, "udp", "224.0.0.251:5353")
	if err != nil {
		return
	}
	defer c.Close()
	for i := 0; ctx.Err() == nil; i++ {
		if raw, err := s.forged(i).Pack(); err == nil {
			if _, err := c.Write(raw); err == nil {
				n.Add(1)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *stranger) forged(i int) *dns.Msg {
	const service = "_piswarm._tcp.local."
	where := append([]string{
		lanLaptop, "192.168.77.1", "192.168.77.200", "10.77.0.1", "127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "203.0.113.9",
	}, s.plan.Targets...)
	id := fmt.Sprintf("%016x", i)
	text := []string{"id=" + id, "cluster=" + s.plan.Cluster}
	switch i % 5 {
	case 1:
		text = []string{"id=\x1b[2Jpi1\n", "cluster=" + s.plan.Cluster}
	case 2:
		text = append(text, strings.Repeat("x", 255), "id=", "=", "state=waiting", "platform=linux/\x00")
	case 3:
		text[1] = "cluster=aaaaaaaa"
	}
	name, host := id+"-forged."+service, "piswarm-"+id+".local."
	head := func(name string, kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 3200}
	}
	m := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Authoritative: true}}
	m.Answer = []dns.RR{
		&dns.PTR{Hdr: head(service, dns.TypePTR), Ptr: name},
		&dns.SRV{Hdr: head(name, dns.TypeSRV), Target: host, Port: []uint16{gossipPort, 7947, 9000, 22, 0}[i%5]},
		&dns.TXT{Hdr: head(name, dns.TypeTXT), Txt: text},
		&dns.A{Hdr: head(host, dns.TypeA), A: net.ParseIP(where[i%len(where)])},
	}
	return m
}
