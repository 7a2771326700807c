package floating

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Times of RFC 5227, shortened: a Pi that takes over is waited for.
const (
	probes     = 3
	probeEvery = 300 * time.Millisecond
	tellings   = 2 // a packet may be lost
)

// packet is an ARP packet of Ethernet and IPv4 (RFC 826).
type packet struct {
	operation uint16 // request or reply
	senderMAC [6]byte
	senderIP  netip.Addr
	targetIP  netip.Addr
}

const (
	request = 1
	reply   = 2
)

const packetSize = 28

func (p packet) bytes() []byte {
	b := make([]byte, 0, packetSize)
	b = binary.BigEndian.AppendUint16(b, 1) // Ethernet
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_IP)
	b = append(b, 6, 4) // sizes of the two kinds of address
	b = binary.BigEndian.AppendUint16(b, p.operation)
	b = append(b, p.senderMAC[:]...)
	b = append(b, p.senderIP.AsSlice()...)
	b = append(b, 0, 0, 0, 0, 0, 0) // the target's MAC, which is what is asked for
	return append(b, p.targetIP.AsSlice()...)
}

// parse reads a packet off the LAN; false for what is none of Ethernet and IPv4.
func parse(b []byte) (p packet, ok bool) {
	if len(b) < packetSize || !bytes.Equal(b[:6], []byte{0, 1, unix.ETH_P_IP >> 8, unix.ETH_P_IP & 0xff, 6, 4}) {
		return packet{}, false
	}
	p.operation = binary.BigEndian.Uint16(b[6:])
	copy(p.senderMAC[:], b[8:])
	p.senderIP = netip.AddrFrom4([4]byte(b[14:18]))
	p.targetIP = netip.AddrFrom4([4]byte(b[24:28]))
	return p, p.operation == request || p.operation == reply
}

// wire speaks ARP on one interface.
type wire struct {
	fd    int
	index int
	mac   [6]byte
}

func openARP(link *netlink.LinkAttrs) (*wire, error) {
	if len(link.HardwareAddr) != 6 {
		return nil, fmt.Errorf("interface %s has no Ethernet address: a floating address needs one", link.Name)
	}
	w := &wire{index: link.Index, mac: [6]byte(link.HardwareAddr)}
	var err error
	if w.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(network(unix.ETH_P_ARP))); err != nil {
		return nil, fmt.Errorf("speak ARP: %w", err)
	}
	if err := unix.Bind(w.fd, &unix.SockaddrLinklayer{Protocol: network(unix.ETH_P_ARP), Ifindex: w.index}); err != nil {
		w.close()
		return nil, fmt.Errorf("speak ARP on %s: %w", link.Name, err)
	}
	return w, nil
}

func (w *wire) close() { _ = unix.Close(w.fd) }

// network puts a number in the order of bytes of the network.
func network(n uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], n)
	return binary.NativeEndian.Uint16(b[:])
}

func (w *wire) send(p packet) error {
	to := &unix.SockaddrLinklayer{Protocol: network(unix.ETH_P_ARP), Ifindex: w.index, Halen: 6, Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}
	if err := unix.Sendto(w.fd, p.bytes(), 0, to); err != nil {
		return fmt.Errorf("send ARP: %w", err)
	}
	return nil
}

// probe asks whose an address is, and returns who answers, nil if nobody does.
func (w *wire) probe(ctx context.Context, ip netip.Addr) (net.HardwareAddr, error) {
	for range probes {
		// No address of the sender's: nobody is to learn from the question that it is here.
		if err := w.send(packet{operation: request, senderMAC: w.mac, senderIP: netip.IPv4Unspecified(), targetIP: ip}); err != nil {
			return nil, err
		}
		for deadline := time.Now().Add(probeEvery); time.Now().Before(deadline); {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			p, ok, err := w.receive(time.Until(deadline))
			if err != nil {
				return nil, err
			}
			// Also one that asks for the address at the same moment, in order to have it.
			asks := p.operation == request && p.targetIP == ip && p.senderIP.IsUnspecified()
			if ok && p.senderMAC != w.mac && (p.senderIP == ip || asks) {
				return p.senderMAC[:], nil
			}
		}
	}
	return nil, nil
}

// receive waits for a packet, for so long at most.
func (w *wire) receive(wait time.Duration) (p packet, ok bool, err error) {
	limit := unix.NsecToTimeval(max(wait, time.Millisecond).Nanoseconds())
	if err := unix.SetsockoptTimeval(w.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return p, false, err
	}
	var b [2 * packetSize]byte // an Ethernet frame is filled up
	n, _, err := unix.Recvfrom(w.fd, b[:], 0)
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return p, false, nil
	case err != nil:
		return p, false, fmt.Errorf("receive ARP: %w", err)
	}
	p, ok = parse(b[:n])
	return p, ok, nil
}

// announce tells the LAN that the address is here.
func (w *wire) announce(ip netip.Addr) error {
	for range tellings {
		// As a request and as a reply: there are machines that learn from one of the two alone.
		for _, operation := range []uint16{request, reply} {
			if err := w.send(packet{operation: operation, senderMAC: w.mac, senderIP: ip, targetIP: ip}); err != nil {
				return err
			}
		}
	}
	return nil
}
