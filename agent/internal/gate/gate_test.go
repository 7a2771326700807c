package gate

import (
	"io"
	"net"
	"testing"
	"time"
)

// from is the far end of connections from an address.
type from struct {
	net.Conn
	address string
	closed  bool
}

func (c *from) RemoteAddr() net.Addr {
	a, err := net.ResolveTCPAddr("tcp", c.address)
	if err != nil {
		panic(err)
	}
	return a
}

func (c *from) Close() error {
	c.closed = true
	return nil
}

func admit(t *testing.T, g *Gate, address string) (*Conn, *from) {
	t.Helper()
	f := &from{address: address}
	c, err := g.Admit(f)
	if err != nil {
		t.Fatalf("%s: %v", address, err)
	}
	return c, f
}

func refused(t *testing.T, g *Gate, address string) {
	t.Helper()
	if _, err := g.Admit(&from{address: address}); err == nil {
		t.Fatalf("one more from %s is let in", address)
	}
}

func TestStrangersAreFew(t *testing.T) {
	g := New(Limits{Strangers: 5, PerAddress: 2, Known: 3})
	first, oldest := admit(t, g, "10.0.0.1:1")
	second, _ := admit(t, g, "10.0.0.1:2")
	refused(t, g, "10.0.0.1:3")
	second.Close()
	second.Close() // counts once
	_, next := admit(t, g, "10.0.0.1:4")
	refused(t, g, "10.0.0.1:5")
	admit(t, g, "10.0.0.2:1")
	admit(t, g, "10.0.0.2:2")
	admit(t, g, "10.0.0.3:1")
	if oldest.closed {
		t.Fatal("one is cut off while there is room")
	}
	_, sixth := admit(t, g, "10.0.0.4:1")
	if !oldest.closed || next.closed || sixth.closed {
		t.Fatal("a sixth one does not take the place of the oldest")
	}
	first.Known() // too late
	first.Close()
	if len(g.strangers) != 5 || len(g.known) != 0 {
		t.Fatalf("%d strangers, known %v", len(g.strangers), g.known)
	}
}

func TestMembersAreNotCutOff(t *testing.T) {
	g := New(Limits{Strangers: 2, PerAddress: 2, Known: 3})
	var members []*Conn
	for range 3 {
		c, _ := admit(t, g, "10.0.0.1:1")
		c.Known()
		c.Known() // counts once
		members = append(members, c)
	}
	refused(t, g, "10.0.0.1:1")
	for range 10 {
		admit(t, g, "10.0.0.2:1")
		admit(t, g, "10.0.0.3:1")
	}
	for _, m := range members {
		if m.Conn.(*from).closed {
			t.Fatal("a member is cut off")
		}
	}
	members[0].Close()
	admit(t, g, "10.0.0.1:1")
	for _, m := range members {
		m.Close()
	}
	if len(g.known) != 0 {
		t.Fatalf("known %v", g.known)
	}
}

// TestListener holds that those who are refused learn it at once, and others are served.
func TestListener(t *testing.T) {
	raw, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := New(Limits{Strangers: 10, PerAddress: 3, Known: 3}).Listener(raw)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Write([]byte("x"))
		}
	}()
	served := 0
	for range 8 {
		c, err := net.Dial("tcp", raw.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(5 * time.Second))
		if n, _ := io.ReadFull(c, make([]byte, 1)); n == 1 {
			served++
		}
	}
	if served != 3 {
		t.Errorf("%d of 8 are served, want 3", served)
	}
}
