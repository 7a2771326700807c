package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// Readdress gives a host another address of the LAN from its next start on, as a router does that forgot whose which
// one was. Its MAC stays. The other hosts learn the new address by name at that moment.
func (l *Lab) Readdress(name string, addr netip.Addr) error {
	h, err := l.host(name)
	if err != nil {
		return err
	}
	lan := netip.PrefixFrom(netip.MustParseAddr(lanRouter), lanBits).Masked()
	last := lan.Addr().As4()
	last[3] = 255
	if !lan.Contains(addr) || addr == lan.Addr() || addr == netip.AddrFrom4(last) {
		return fmt.Errorf("address %s for %s: want one of %s", addr, name, lan)
	}
	l.names.Lock()
	defer l.names.Unlock()
	if addr.String() == lanRouter {
		return fmt.Errorf("address %s for %s: the router has it", addr, name)
	}
	for _, other := range l.hosts {
		if other != h && (other.address() == addr || other.nextAddress() == addr) {
			return fmt.Errorf("address %s for %s: %s has it", addr, name, other.name)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next = addr
	return nil
}

// takeAddress gives a host that is about to start its new address, if there is one, and tells those that are up. One
// that is just starting holds the lock for reading until it can be told.
func (l *Lab) takeAddress(h *host) {
	if h.address() == h.nextAddress() {
		return
	}
	l.names.Lock()
	defer l.names.Unlock()
	h.mu.Lock()
	h.addr = h.next
	h.mu.Unlock()
	text := hostsText(l.hostLines())
	for _, other := range l.hosts {
		if err := other.writeHosts(text); err != nil {
			l.opt.Log(fmt.Sprintf("%s was not told that %s has a new address: %v", other.name, h.name, err))
		}
	}
}

// writeHosts replaces /etc/hosts of a host that is up, so that a name is found at every moment.
func (h *host) writeHosts(text string) error {
	root, err := h.lab.Root(h.name)
	if err != nil {
		return nil // it is off, and gets the file when it starts
	}
	path := root + "/etc/hosts"
	err = os.WriteFile(path+".new", []byte(text), 0o644)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if errors.Is(err, os.ErrNotExist) && h.machine() == nil {
		return nil
	}
	return err
}

// hostLines are the lines of /etc/hosts for the hosts of the lab.
func (l *Lab) hostLines() (lines []string) {
	for _, h := range l.hosts {
		lines = append(lines, h.address().String()+"\t"+h.name)
	}
	return lines
}

func hostsText(lines []string) string {
	return "127.0.0.1\tlocalhost\n" + strings.Join(lines, "\n") + "\n"
}

func (h *host) address() netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.addr
}

func (h *host) nextAddress() netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.next
}
