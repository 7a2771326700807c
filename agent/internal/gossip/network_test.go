//go:build !race

package gossip

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// network carries packets and streams in memory, so that members can live in a synctest bubble, where hours pass in
// an instant. Its zero value is wired: it loses nothing and takes 0.2 ms each way. It must take some time: under the
// race detector Go 1.26 crashes in a bubble on timers that are due at once.
type network struct {
	mu    sync.Mutex
	hosts map[netip.AddrPort]*host
	// delay and loss are asked for each packet and for each way of a new stream, which then loses nothing.
	delay func(from, to netip.AddrPort) time.Duration
	loss  func(from, to netip.AddrPort) float64
	sent  int // packets so far
}

// host is the transport of one member.
type host struct {
	net     *network
	at      netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
}

// host attaches a new one at that address, in the place of one that was there.
func (n *network) host(at netip.AddrPort) *host {
	h := &host{net: n, at: at, packets: make(chan *memberlist.Packet, 1000), streams: make(chan net.Conn, 100)}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil {
		n.hosts = map[netip.AddrPort]*host{}
	}
	n.hosts[at] = h
	return h
}

// set changes what the network does to packets.
func (n *network) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

// path tells how one packet gets from one address to another: who receives it and after what time, if it arrives.
func (n *network) path(from, to netip.AddrPort) (*host, time.Duration, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sent++
	loss, delay := 0.0, 200*time.Microsecond
	if n.loss != nil {
		loss = n.loss(from, to)
	}
	if n.delay != nil {
		delay = n.delay(from, to)
	}
	h := n.hosts[to]
	if h == nil || n.hosts[from] == nil || rand.Float64() < loss {
		return nil, 0, false
	}
	return h, delay, true
}

func (h *host) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return h.at.Addr().AsSlice(), int(h.at.Port()), nil
}

func (h *host) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, err
	}
	if peer, delay, ok := h.net.path(h.at, to); ok {
		b = append([]byte(nil), b...)
		time.AfterFunc(delay, func() {
			select {
			case peer.packets <- &memberlist.Packet{Buf: b, From: net.UDPAddrFromAddrPort(h.at), Timestamp: time.Now()}:
			default:
			}
		})
	}
	return time.Now(), nil
}

func (h *host) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	peer, there, ok := h.net.path(h.at, to)
	_, back, answered := h.net.path(to, h.at)
	if !ok || !answered || there+back > timeout {
		time.Sleep(timeout)
		return nil, errors.New("dial " + addr + ": timed out")
	}
	time.Sleep(there + back)
	near, far := net.Pipe()
	select {
	case peer.streams <- far:
		return near, nil
	default:
		return nil, errors.Join(near.Close(), far.Close(), errors.New("dial "+addr+": refused"))
	}
}

func (h *host) PacketCh() <-chan *memberlist.Packet { return h.packets }
func (h *host) StreamCh() <-chan net.Conn           { return h.streams }

// Shutdown takes the host off the network, unless another has taken its place.
func (h *host) Shutdown() error {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	if h.net.hosts[h.at] == h {
		delete(h.net.hosts, h.at)
	}
	for {
		select {
		case c := <-h.streams:
			c.Close()
		default:
			return nil
		}
	}
}

// at is the address of the i-th host.
func at(i int) netip.AddrPort {
	return netip.MustParseAddrPort("10.0.0." + strconv.Itoa(i) + ":7946")
}
