package nettest

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"
)

// serve answers on a port, tcp and udp, with who answers and whom it sees.
func (h *host) serve(name string, addr string) {
	h.t.Helper()
	h.serveOn(name, addr, "4")
}

// serveOn is serve with the family of the address, 4 or 6.
func (h *host) serveOn(name, addr, family string) {
	h.t.Helper()
	var l net.Listener
	var pc net.PacketConn
	err := h.in(func() (err error) {
		if l, err = net.Listen("tcp"+family, addr); err != nil {
			return err
		}
		pc, err = net.ListenPacket("udp"+family, addr)
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	done := make(chan struct{}, 2)
	go func() {
		defer func() { done <- struct{}{} }()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			// The client closes first. It would be us who remember the connection otherwise, and a new one from
			// the same port, by another node, would be answered as a part of the old one, fail, and be made
			// again: to the next backend.
			go func() {
				defer c.Close()
				fmt.Fprint(c, name, " ", c.RemoteAddr())
				c.SetDeadline(time.Now().Add(5 * time.Second))
				c.Read(make([]byte, 1))
			}()
		}
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		buf := make([]byte, 64)
		for {
			_, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			pc.WriteTo([]byte(name+" "+from.String()), from)
		}
	}()
	h.t.Cleanup(func() {
		l.Close()
		pc.Close()
		<-done
		<-done
	})
}

// answer is what a server said.
type answer struct {
	server string
	client netip.Addr // as the server saw it
}

func parseAnswer(text string) (answer, error) {
	name, client, ok := strings.Cut(text, " ")
	ap, err := netip.ParseAddrPort(client)
	if !ok || err != nil {
		return answer{}, fmt.Errorf("answer %q", text)
	}
	return answer{name, ap.Addr()}, nil
}

// ask makes connections one after another, each from a new port.
func (h *host) ask(proto, addr string, times int) ([]answer, error) {
	var answers []answer
	err := h.in(func() error {
		for range times {
			a, err := askOnce(proto, addr)
			if err != nil {
				return err
			}
			answers = append(answers, a)
		}
		return nil
	})
	return answers, err
}

// lastPort makes the source ports of udp all different: two queries from one port are one connection.
var lastPort atomic.Int32

func askOnce(proto, addr string) (answer, error) {
	d := net.Dialer{Timeout: 2 * time.Second}
	if proto == "udp" {
		d.LocalAddr = &net.UDPAddr{Port: 10000 + int(lastPort.Add(1)%50000)}
	}
	c, err := d.Dial(proto, addr)
	if err != nil {
		return answer{}, err
	}
	defer c.Close()
	return askOver(c)
}

func askOver(c net.Conn) (answer, error) {
	if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return answer{}, err
	}
	if c.RemoteAddr().Network() == "udp" {
		if _, err := c.Write([]byte("who")); err != nil {
			return answer{}, err
		}
	}
	buf := make([]byte, 64)
	n, err := c.Read(buf)
	if err != nil {
		return answer{}, err
	}
	return parseAnswer(string(buf[:n]))
}
