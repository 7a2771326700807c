// Package floating gives this machine one more address on its LAN, for as long as it is the one to have it: an address
// that a home router's port forward may name, whichever Pi is on.
//
// Before it takes the address it asks by ARP, as RFC 5227 has it, whether another machine has it; then it tells all of the
// LAN to send here what goes there. The address is noted in a file beside the agent's socket, so that an agent that
// comes back knows it for its own, and so that it can be taken away with no memory of what was done.
//
// The address is a /32: it brings no route with it, and nothing leaves the machine by it that was not asked by it. Package
// network must not take it for the node's own.
package floating

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"

	"github.com/google/renameio/v2"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ErrTaken is in an error when another machine has the address.
var ErrTaken = errors.New("another machine has it")

// Address is one that this machine may have. Its methods work in the network namespace of the calling thread.
type Address struct {
	Interface string
	IP        netip.Addr
	Note      string // path of the file that it is noted in
}

// note is what the file says.
type note struct {
	Interface string     `json:"interface"`
	IP        netip.Addr `json:"ip"`
}

// Take takes the address, unless another machine has it, and tells the LAN; may be called again.
func (a Address) Take(ctx context.Context) error {
	link, err := netlink.LinkByName(a.Interface)
	if err != nil {
		return fmt.Errorf("look for interface %s: %w", a.Interface, err)
	}
	held, near, err := a.look(link)
	if err != nil {
		return err
	}
	if !near {
		return fmt.Errorf("%s is not in the network of %s: choose an address that is, and that the router gives to nobody", a.IP, a.Interface)
	}
	wire, err := openARP(link.Attrs())
	if err != nil {
		return err
	}
	defer wire.close()
	if mine := a.noted(); !held || mine != (note{a.Interface, a.IP}) {
		if held {
			return fmt.Errorf("%s has %s by somebody else's doing: choose another address", a.Interface, a.IP)
		}
		if mac, err := wire.probe(ctx, a.IP); err != nil {
			return err
		} else if mac != nil {
			return fmt.Errorf("%w: %s answers for %s", ErrTaken, mac, a.IP)
		}
		if err := a.write(); err != nil {
			return err
		}
		if err := netlink.AddrAdd(link, a.address()); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("give %s the address %s: %w", a.Interface, a.IP, err)
		}
	}
	return wire.announce(a.IP)
}

// look tells whether the interface has the address, and whether it is in one of its networks.
func (a Address) look(link netlink.Link) (held, near bool, err error) {
	all, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return false, false, fmt.Errorf("list the addresses of %s: %w", a.Interface, err)
	}
	for _, one := range all {
		ip, _ := netip.AddrFromSlice(one.IP.To4())
		if ip == a.IP {
			held = true
			continue
		}
		near = near || one.IPNet.Contains(a.IP.AsSlice())
	}
	return held, near, nil
}

func (a Address) address() *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: a.IP.AsSlice(), Mask: net.CIDRMask(32, 32)}}
}

func (a Address) noted() (n note) {
	raw, err := os.ReadFile(a.Note)
	if err != nil || json.Unmarshal(raw, &n) != nil {
		return note{}
	}
	return n
}

func (a Address) write() error {
	raw, err := json.Marshal(note{a.Interface, a.IP})
	if err != nil {
		return err
	}
	return renameio.WriteFile(a.Note, raw, 0o600)
}

// CleanupOther is Cleanup unless it is this address: the one that is wanted was perhaps another when the file was written.
func CleanupOther(path string, wanted netip.Addr) error {
	if (Address{Note: path}).noted().IP == wanted {
		return nil
	}
	return Cleanup(path)
}

// Cleanup takes away what the file says that this machine was given, if anything.
func Cleanup(path string) error {
	n := Address{Note: path}.noted()
	if n.Interface == "" || !n.IP.Is4() {
		return nil
	}
	link, err := netlink.LinkByName(n.Interface)
	if err == nil {
		err = netlink.AddrDel(link, Address{IP: n.IP}.address())
	}
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.As(err, new(netlink.LinkNotFoundError)) {
		return fmt.Errorf("take %s from %s: %w", n.IP, n.Interface, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
