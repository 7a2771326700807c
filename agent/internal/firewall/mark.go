package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mark is what changes with every change of the packet filter: one of the two, by the variant of iptables.
type mark struct {
	generation uint32 // counts the changes: one for each table of a text that is restored
	sizes      string // of the tables
}

// after is the mark after so many changes of our own, where they are counted. Otherwise the packet filter never has it.
func (m mark) after(changes uint32) mark {
	m.generation += changes
	return m
}

// mark asks the kernel: nftables counts its changes, and ip_tables knows how many rules a table has. Only the one that
// the commands speak to is asked, so that the kernel loads none of the other.
func (c *commands) mark() (mark, error) {
	if c.nft {
		n, err := generation()
		return mark{generation: n}, err
	}
	text, err := sizes()
	return mark{sizes: text}, err
}

const (
	answerTimeout  = 5 // seconds for an answer of the kernel
	sizeofNfgenmsg = 4 // of the kernel's struct nfgenmsg
)

// generation is the number of the last change of nftables.
func generation() (uint32, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return 0, fmt.Errorf("ask nftables: %w", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: answerTimeout}); err != nil {
		return 0, fmt.Errorf("ask nftables: %w", err)
	}
	const length = unix.SizeofNlMsghdr + sizeofNfgenmsg
	ask := make([]byte, length) // the header's sequence and port, and all that follows it, are 0
	binary.NativeEndian.PutUint32(ask, length)
	binary.NativeEndian.PutUint16(ask[4:], unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETGEN)
	binary.NativeEndian.PutUint16(ask[6:], unix.NLM_F_REQUEST)
	if err := unix.Sendto(fd, ask, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, fmt.Errorf("ask nftables: %w", err)
	}
	buf := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, buf, 0)
	if err != nil {
		return 0, fmt.Errorf("ask nftables: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(buf[:n])
	if err != nil {
		return 0, fmt.Errorf("ask nftables: %w", err)
	}
	for _, m := range messages {
		switch {
		case m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4:
			return 0, fmt.Errorf("ask nftables: %w", unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data))))
		case m.Header.Type == unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN:
			// The first attribute is the number.
			if a := m.Data[min(len(m.Data), sizeofNfgenmsg):]; len(a) >= 8 && binary.NativeEndian.Uint16(a[2:]) == unix.NFTA_GEN_ID {
				return binary.BigEndian.Uint32(a[4:]), nil
			}
		}
	}
	return 0, errors.New("ask nftables: an answer of another kind")
}

// tableInfo is the kernel's struct ipt_getinfo.
type tableInfo struct {
	Name       [32]byte
	Hooks      uint32
	HookEntry  [5]uint32 // where each built-in chain begins
	Underflow  [5]uint32
	NumEntries uint32
	Size       uint32
}

const iptGetInfo = 64 // IPT_SO_GET_INFO

// sizes are the sizes of the tables of ip_tables, and where in them their chains begin. Tables that are not in use
// are not asked for: that would bring them into use.
func sizes() (string, error) {
	names, err := os.ReadFile("/proc/thread-self/net/ip_tables_names")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil // there are no tables
	} else if err != nil {
		return "", fmt.Errorf("ask for the tables of iptables: %w", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return "", fmt.Errorf("ask for the tables of iptables: %w", err)
	}
	defer unix.Close(fd)
	var all strings.Builder
	for _, name := range strings.Fields(string(names)) {
		var info tableInfo
		copy(info.Name[:len(info.Name)-1], name)
		size := uint32(unsafe.Sizeof(info))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_IP, iptGetInfo,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return "", fmt.Errorf("ask for table %s of iptables: %w", name, errno)
		}
		fmt.Fprintln(&all, name, info.HookEntry, info.Underflow, info.NumEntries, info.Size)
	}
	return all.String(), nil
}
