package e2e

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/piswarm/piswarm/pkg/lab"
)

// TestNames asks from the laptop, as any computer of the LAN would, for the nodes' names and for the cluster's, which
// moves with the leadership, as the floating address does.
func TestNames(t *testing.T) {
	s := newShelf(t, 2)
	vip := s.float()
	s.load("pi1")
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 2 greeter")
	address := map[string]string{}
	for _, h := range s.lab.List() {
		address[h.Name] = h.Address
	}
	for _, pi := range pis(2) {
		s.eventually(20*time.Second, pi+".local answers", func() bool { return s.mdns(pi+".local.") == address[pi] })
	}
	leader := s.status("pi1").Leader
	s.floats(vip, leader)
	s.eventually(20*time.Second, "piswarm.local is the leader", func() bool { return s.mdns("piswarm.local.") == address[leader] })
	s.powerOff(leader)
	next := map[string]string{"pi1": "pi2", "pi2": "pi1"}[leader]
	s.eventually(20*time.Second, "piswarm.local moves", func() bool { return s.mdns("piswarm.local.") == address[next] })
	if got := s.mdns("nobody.local."); got != "" {
		t.Errorf("nobody.local is %s", got)
	}
	s.floats(vip, next)
	s.powerOn(leader)
	s.awaitReady(2)
	s.floats(vip, leader) // which has the smaller ID
	// An agent that only starts anew leaves it where it is; one that leaves the cluster does not.
	s.must(leader, "pkill", "-INT", "-f", "piswarm agent$")
	if !s.has(leader, vip) {
		t.Errorf("%s gave %s up, to start anew", leader, vip)
	}
	s.awaitReady(2)
	// One that starts anew without it in its settings gives it back.
	s.must(leader, "sh", "-c", "rm /etc/piswarm/piswarm.toml; pkill -INT -f 'piswarm agent$'")
	s.eventually(20*time.Second, "the address is given back", func() bool { return !s.has(leader, vip) })
	s.awaitReady(2)
	s.must(leader, "sh", "-c", "echo 'vip = \""+vip+"\"' >/etc/piswarm/piswarm.toml; pkill -INT -f 'piswarm agent$'")
	s.floats(vip, leader)
	s.piswarm(leader, "leave")
	s.floats(vip, next)
}

// float gives the cluster a floating address.
func (s *shelf) float() (vip string) {
	s.t.Helper()
	own := s.lab.List()[0].Address
	vip = own[:strings.LastIndex(own, ".")] + ".201"
	for _, pi := range pis(2) {
		s.must(pi, "sh", "-c", "mkdir -p /etc/piswarm; echo 'vip = \""+vip+"\"' >>/etc/piswarm/piswarm.toml; pkill -INT -f 'piswarm agent$'")
	}
	s.awaitReady(2)
	return vip
}

func (s *shelf) has(node, address string) bool {
	s.t.Helper()
	return strings.Contains(s.must(node, "ip", "-4", "addr", "show"), "inet "+address+"/32")
}

// floats waits until the address is that node's alone, and the service answers there.
func (s *shelf) floats(vip, node string) {
	s.t.Helper()
	s.eventually(20*time.Second, vip+" is at "+node+" and answers", func() bool {
		for _, h := range s.lab.List() {
			if h.Name != lab.LaptopName && h.Power == "on" && s.has(h.Name, vip) != (h.Name == node) {
				return false
			}
		}
		return s.on("laptop", "curl", "-sS", "--fail", "--max-time", "1", "http://"+vip+":9000/").code == 0
	})
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
