package dns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// attempt is how long one resolver may take, and total how long all together: most programs ask again, or
	// give up, after five seconds.
	attempt = 2 * time.Second
	total   = 4500 * time.Millisecond

	maxResolvers  = 3 // as many as the C library reads
	maxResolvConf = 64 << 10
)

// upstream asks the node's own resolvers.
type upstream struct {
	path  string
	self  netip.Addr
	port  string // on which resolvers listen
	slots chan struct{}

	mu      sync.Mutex
	file    os.FileInfo // as it was read last
	servers []string
}

func newUpstream(path string, self netip.AddrPort) *upstream {
	return &upstream{path: path, self: self.Addr(), port: "53", slots: make(chan struct{}, maxForwarded)}
}

// ask passes a query on, and returns SERVFAIL if nobody answers it. It asks over what it was asked over: an
// answer that was cut for udp reaches the container cut, and the container asks again over tcp.
func (u *upstream) ask(ctx context.Context, q *dns.Msg, tcp bool) *dns.Msg {
	select {
	case u.slots <- struct{}{}:
		defer func() { <-u.slots }()
	default:
		return failure(q)
	}
	ctx, cancel := context.WithTimeout(ctx, total)
	defer cancel()
	servers, err := u.resolvers()
	if err != nil {
		return failure(q)
	}
	network := "udp"
	if tcp {
		network = "tcp"
	}
	answer := failure(q)
	for _, server := range servers {
		if a, err := exchange(ctx, network, server, q); err == nil {
			answer = a
			// One that refuses or fails may only be the wrong one to ask.
			if a.Rcode != dns.RcodeServerFailure && a.Rcode != dns.RcodeRefused {
				break
			}
		}
	}
	return answer
}

// exchange asks one resolver. The query gets a number of its own, because the container's may be known to
// somebody who would like to answer first.
func exchange(ctx context.Context, network, server string, q *dns.Msg) (*dns.Msg, error) {
	query := q.Copy()
	query.Id = dns.Id()
	client := dns.Client{Net: network, Timeout: attempt, UDPSize: uint16(udpSize(q))}
	answer, _, err := client.ExchangeContext(ctx, query, server)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", server, err)
	}
	if len(answer.Question) != 1 || !strings.EqualFold(answer.Question[0].Name, q.Question[0].Name) || answer.Question[0].Qtype != q.Question[0].Qtype {
		return nil, fmt.Errorf("ask %s: %w", server, errors.New("answer to another question"))
	}
	answer.Id = q.Id
	answer.Question = q.Question
	return answer, nil
}

func failure(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
	m.RecursionAvailable = true
	return m
}

// resolvers returns the addresses of the node's resolvers. DHCP replaces the file, so it is looked at for
// every query; it is read again only if it is another.
func (u *upstream) resolvers() ([]string, error) {
	info, err := os.Stat(u.path)
	if err != nil {
		return nil, fmt.Errorf("find the node's resolvers: %w", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.file != nil && os.SameFile(u.file, info) && info.ModTime().Equal(u.file.ModTime()) && info.Size() == u.file.Size() {
		return u.servers, nil
	}
	f, err := os.Open(u.path)
	if err != nil {
		return nil, fmt.Errorf("find the node's resolvers: %w", err)
	}
	defer f.Close()
	config, err := dns.ClientConfigFromReader(io.LimitReader(f, maxResolvConf))
	if err != nil {
		return nil, fmt.Errorf("read the node's resolvers: %w", err)
	}
	var servers []string
	for _, s := range config.Servers {
		// Asking ourselves would go round until nobody has a slot left.
		if addr, err := netip.ParseAddr(s); err == nil && addr != u.self && len(servers) < maxResolvers {
			servers = append(servers, net.JoinHostPort(s, u.port))
		}
	}
	u.file, u.servers = info, servers
	return servers, nil
}
