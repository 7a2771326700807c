// Package gate bounds the connections of strangers: of whoever has connected and not proved yet that it knows the
// cluster's secret. Anyone on the LAN can open a connection and say nothing on it, or little, or much.
//
// It knows no protocol. Whoever lets connections in by it says when one is known.
package gate

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
)

// Limits of a gate, in connections.
type Limits struct {
	Strangers  int // in all; one more than these cuts the oldest off, since a member is not one for long
	PerAddress int // of strangers at one address; one more than these is refused
	Known      int // of members at one address; one more than these is refused. 0 where nobody is ever known
}

// Gate counts connections.
type Gate struct {
	limits Limits

	mu        sync.Mutex
	strangers []*Conn // the oldest first
	known     map[netip.Addr]int
}

// New returns a gate that nothing has passed yet.
func New(limits Limits) *Gate { return &Gate{limits: limits, known: map[netip.Addr]int{}} }

var errFull = errors.New("too many connections from this address")

// Admit lets a connection in as a stranger's. One that it refuses is for the caller to close.
func (g *Gate) Admit(c net.Conn) (*Conn, error) {
	conn := &Conn{Conn: c, gate: g, stranger: true}
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		conn.address = a.AddrPort().Addr().Unmap()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if conn.address.IsValid() { // else it is one of a test, in memory
		same := 0
		for _, s := range g.strangers {
			if s.address == conn.address {
				same++
			}
		}
		if same >= g.limits.PerAddress || g.limits.Known > 0 && g.known[conn.address] >= g.limits.Known {
			return nil, errFull
		}
	}
	if len(g.strangers) >= g.limits.Strangers {
		oldest := g.strangers[0]
		oldest.leave()
		oldest.Conn.Close()
	}
	g.strangers = append(g.strangers, conn)
	return conn, nil
}

// Conn is a connection that has passed.
type Conn struct {
	net.Conn
	gate    *Gate
	address netip.Addr

	// Of the gate, under its lock.
	stranger, left bool
}

// Known says that the other end has proved to be a member.
func (c *Conn) Known() {
	g := c.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.left || !c.stranger {
		return
	}
	c.leave()
	c.left, c.stranger = false, false
	g.known[c.address]++
}

// Close makes room for another one.
func (c *Conn) Close() error {
	c.gate.mu.Lock()
	c.leave()
	c.gate.mu.Unlock()
	return c.Conn.Close()
}

// leave takes the connection out of the count; the gate's lock is held.
func (c *Conn) leave() {
	if c.left {
		return
	}
	c.left = true
	g := c.gate
	if c.stranger {
		if i := slices.Index(g.strangers, c); i >= 0 {
			g.strangers = slices.Delete(g.strangers, i, i+1)
		}
		return
	}
	if g.known[c.address]--; g.known[c.address] == 0 {
		delete(g.known, c.address)
	}
}

// Listener lets in by the gate whoever connects to another listener.
func (g *Gate) Listener(l net.Listener) net.Listener { return listener{l, g} }

type listener struct {
	net.Listener
	gate *Gate
}

func (l listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		admitted, err := l.gate.Admit(c)
		if err == nil {
			return admitted, nil
		}
		c.Close()
	}
}

// Handshaken is for the ConnState of an http.Server that serves mutual TLS on top of the gate's listener. Its first
// request makes a connection active, and before that comes the handshake.
func Handshaken(c net.Conn, s http.ConnState) {
	if s != http.StateActive {
		return
	}
	if t, ok := c.(*tls.Conn); ok {
		if admitted, ok := t.NetConn().(*Conn); ok {
			admitted.Known()
		}
	}
}
