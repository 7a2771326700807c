//go:build !race

package replication

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// air carries everything between the Pis of a shelf: packets and streams of the gossip, and messages of the node API.
type air struct {
	mu   sync.Mutex
	on   map[netip.AddrPort]*radio
	loss float64                // of each packet; streams do without, as TCP repairs what they lose
	side map[netip.AddrPort]int // who is cut off from whom
}

// radio is one Pi's end of it. It counts the bytes that the Pi sends, and takes part until it is shut down.
type radio struct {
	*air
	at      netip.AddrPort
	packets chan *memberlist.Packet
	streams chan net.Conn
	sent    atomic.Int64 // in packets and messages
	poured  atomic.Int64 // into streams
}

// Headers of what is sent: Ethernet, IP and UDP of a packet, IP and TCP of what a stream writes at once, and what a
// message of the node API costs besides its body.
const (
	packetHeader  = 14 + 20 + 8
	streamHeader  = 14 + 20 + 32
	messageHeader = 400
)

var errUnreachable = errors.New("no answer")

func (a *air) radio(at netip.AddrPort) *radio {
	r := &radio{air: a, at: at, packets: make(chan *memberlist.Packet, 2000), streams: make(chan net.Conn, 500)}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.on[at] = r
	return r
}

// set changes what the air does.
func (a *air) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

// reach returns the other end, if what is sent now gets there.
func (r *radio) reach(to netip.AddrPort, packet bool) (*radio, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	other := r.on[to]
	ok := other != nil && r.on[r.at] == r && r.side[to] == r.side[r.at] && !(packet && rand.Float64() < r.loss)
	return other, ok
}

// delay is that of a wired LAN with Pis on it. It is never nothing: things take time.
func delay() time.Duration { return time.Duration(300+rand.IntN(700)) * time.Microsecond }

func (r *radio) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return r.at.Addr().AsSlice(), int(r.at.Port()), nil
}

func (r *radio) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, err
	}
	r.sent.Add(int64(packetHeader + len(b)))
	if other, ok := r.reach(to, true); ok {
		packet := &memberlist.Packet{Buf: append([]byte(nil), b...), From: net.UDPAddrFromAddrPort(r.at)}
		time.AfterFunc(delay(), func() {
			packet.Timestamp = time.Now()
			select {
			case other.packets <- packet:
			default: // a full socket buffer
			}
		})
	}
	return time.Now(), nil
}

func (r *radio) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	other, ok := r.reach(to, false)
	if !ok {
		time.Sleep(timeout)
		return nil, errUnreachable
	}
	time.Sleep(delay())
	near, far := net.Pipe()
	select {
	case other.streams <- &stream{far, other}:
		return &stream{near, r}, nil
	default:
		return nil, errors.Join(errUnreachable, near.Close(), far.Close())
	}
}

func (r *radio) PacketCh() <-chan *memberlist.Packet { return r.packets }
func (r *radio) StreamCh() <-chan net.Conn           { return r.streams }

// Shutdown takes the Pi off the air, with the streams that nobody has answered.
func (r *radio) Shutdown() error {
	r.set(func() { delete(r.on, r.at) })
	for {
		select {
		case c := <-r.streams:
			c.Close()
		default:
			return nil
		}
	}
}

// call carries a message of the node API to a Pi and brings its answer.
func (r *radio) call(ctx context.Context, from string, to *pi, message []byte) ([]byte, error) {
	r.sent.Add(int64(messageHeader + len(message)))
	if err := r.cross(ctx, to.radio); err != nil {
		return nil, err
	}
	answer, err := to.Receive(from, message)
	if err != nil {
		return nil, err
	}
	to.radio.sent.Add(int64(messageHeader + len(answer)))
	return answer, r.cross(ctx, to.radio)
}

// cross takes the time of one way between two Pis, and hangs when one of them is gone.
func (r *radio) cross(ctx context.Context, to *radio) error {
	time.Sleep(delay())
	if _, ok := r.reach(to.at, false); ok {
		return nil
	}
	<-ctx.Done()
	return errors.Join(errUnreachable, ctx.Err())
}

// stream is one end of a connection. Its writes count.
type stream struct {
	net.Conn
	from *radio
}

func (s *stream) Write(b []byte) (int, error) {
	s.from.poured.Add(int64(streamHeader*(1+len(b)/1400) + len(b)))
	return s.Conn.Write(b)
}
