package e2e

import (
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/piswarm/piswarm/pkg/lab"
)

// TestNames asks from the laptop, as any computer of the LAN would, for the nodes' names and for the cluster's, which
// moves with the leadership.
func TestNames(t *testing.T) {
	s := newShelf(t, 2)
	address := map[string]string{}
	for _, h := range s.lab.List() {
		address[h.Name] = h.Address
	}
	for _, pi := range pis(2) {
		s.eventually(20*time.Second, pi+".local answers", func() bool { return s.mdns(pi+".local.") == address[pi] })
	}
	leader := s.status("pi1").Leader
	s.eventually(20*time.Second, "piswarm.local is the leader", func() bool { return s.mdns("piswarm.local.") == address[leader] })
	s.powerOff(leader)
	next := map[string]string{"pi1": "pi2", "pi2": "pi1"}[leader]
	s.eventually(20*time.Second, "piswarm.local moves", func() bool { return s.mdns("piswarm.local.") == address[next] })
	if got := s.mdns("nobody.local."); got != "" {
		t.Errorf("nobody.local is %s", got)
	}
}

// mdns asks for a name's address by multicast from the laptop, "" if there is none within half a second.
func (s *shelf) mdns(name string) string {
	s.t.Helper()
	conn, err := s.lab.ListenPacket(s.t.Context(), lab.LaptopName, "udp4", "0.0.0.0:0")
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	q := new(dns.Msg).SetQuestion(name, dns.TypeA)
	packed, err := q.Pack()
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := conn.WriteTo(packed, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353}); err != nil {
		s.t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	buffer := make([]byte, 1500)
	n, _, err := conn.ReadFrom(buffer)
	if err != nil {
		return ""
	}
	var m dns.Msg
	if err := m.Unpack(buffer[:n]); err != nil || m.Id != q.Id || len(m.Answer) != 1 {
		s.t.Fatalf("answered with %v, %v", m, err)
	}
	a, ok := m.Answer[0].(*dns.A)
	if !ok {
		s.t.Fatalf("answered with %v", m)
	}
	return a.A.String()
}
