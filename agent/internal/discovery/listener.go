package discovery

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// mdnsPort and mdnsGroup are where mDNS is spoken (RFC 6762, 3).
const mdnsPort = 5353

var mdnsGroup = [4]byte{224, 0, 0, 251}

// Listener hears what the nodes of the LAN say by themselves and in answer to anyone's question. zeroconf has no such
// thing: its browser asks, and remembers without bound whom it found. A listener asks nothing and has no timer.
type Listener struct{ conn net.PacketConn }

// Listen begins to listen on an interface.
func Listen(iface string) (*Listener, error) {
	link, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("listen to mDNS on %s: %w", iface, err)
	}
	conn, err := listenMulticast(link.Index)
	if err != nil {
		return nil, fmt.Errorf("listen to mDNS on %s: %w", iface, err)
	}
	return &Listener{conn}, nil
}

// listenMulticast opens a socket for what is sent to mDNS's group on that interface, and nothing else. Package net's
// would be bound to all addresses, and could take packets away that are meant for another program of this machine.
func listenMulticast(iface int) (net.PacketConn, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "mdns")
	defer file.Close() // FilePacketConn has its own
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"SO_REUSEADDR", func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }},
		{"IP_MULTICAST_ALL", func() error { return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0) }},
		{"IP_ADD_MEMBERSHIP", func() error {
			return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: mdnsGroup, Ifindex: int32(iface)})
		}},
		{"bind", func() error { return unix.Bind(fd, &unix.SockaddrInet4{Port: mdnsPort, Addr: mdnsGroup}) }},
	} {
		if err := step.do(); err != nil {
			return nil, os.NewSyscallError(step.name, err)
		}
	}
	return net.FilePacketConn(file)
}

// maxPacket is the largest that mDNS has (RFC 6762, 17). What is longer is cut, and then does not parse.
const maxPacket = 9000

// maxFailures in a row end a listener, which would otherwise be busy with nothing else.
const maxFailures = 10

// Run keeps the list of the nodes that wait until ctx ends.
func (l *Listener) Run(ctx context.Context, list *Waitlist) error {
	defer context.AfterFunc(ctx, func() { l.conn.Close() })()
	defer l.conn.Close()
	failures := 0
	for buf := make([]byte, maxPacket); ; {
		n, from, err := l.conn.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil
		}
		// One is of a packet, or says that the link went down: it will be up again.
		if failures++; err != nil && failures < maxFailures {
			continue
		}
		if err != nil {
			return fmt.Errorf("listen to mDNS: %w", err)
		}
		failures = 0
		source, ok := from.(*net.UDPAddr)
		// Answers come from the port of mDNS (RFC 6762, 6), which takes root on most machines.
		if !ok || source.Port != mdnsPort {
			continue
		}
		if w, gone, ok := readPacket(buf[:n]); ok {
			// The address that a packet comes from is harder to forge than one that it names.
			w.Address = source.AddrPort().Addr().Unmap()
			list.hear(w, gone)
		}
	}
}

// ofPiswarm is in every packet that is about nodes: the end of their names, in the form that travels.
var ofPiswarm = wireName(serviceType + "." + domain)

func wireName(name string) []byte {
	var wire []byte
	for label := range strings.SplitSeq(strings.TrimSuffix(name, "."), ".") {
		wire = append(wire, byte(len(label)))
		wire = append(wire, label...)
	}
	return append(wire, 0)
}

// readPacket finds the node in a packet that says that it waits, or takes it back (gone). A node says so in packets of
// its own: if there are several in one, the first counts.
func readPacket(packet []byte) (w Waiting, gone, ok bool) {
	if len(packet) > maxPacket || !bytes.Contains(packet, ofPiswarm) {
		return Waiting{}, false, false
	}
	var m dns.Msg
	if err := m.Unpack(packet); err != nil || !m.Response {
		return Waiting{}, false, false
	}
	for _, section := range [][]dns.RR{m.Answer, m.Extra} {
		for _, rr := range section {
			txt, isText := rr.(*dns.TXT)
			if !isText || !strings.HasSuffix(txt.Hdr.Name, "."+serviceType+"."+domain) {
				continue
			}
			if t, ok := parseText(txt.Txt); ok && t.Cluster == "" {
				return Waiting{ID: t.ID, Name: t.Name, Platform: parsePlatform(t.Platform), Version: t.Version}, txt.Hdr.Ttl == 0, true
			}
		}
	}
	return Waiting{}, false, false
}
