package network

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// vethPrefix starts the name of a container's interface on the node's side; its address follows in hex,
	// so that no two containers can have the same one.
	vethPrefix = "psw"
	// inner is the interface's name inside of the container.
	inner = "eth0"
)

// Attachment is a container's place in the network.
type Attachment struct {
	ID string
	// Addr is the container's address. It is the zero address for what an Attach or a Detach left behind when
	// it was interrupted; Detach removes that.
	Addr netip.Addr
	// Namespace is the path of its network namespace.
	Namespace string
}

// Attach gives the container of that ID a network namespace with the address, in this node's subnet, and
// returns the namespace's path. The bridge must exist (Apply). If it is attached already, nothing changes.
func (n *Network) Attach(ctx context.Context, id string, addr netip.Addr) (string, error) {
	path, err := n.path(id)
	if err != nil {
		return "", err
	}
	if !addr.Is4() {
		return "", fmt.Errorf("attach %s: %s is not an IPv4 address", id, addr)
	}
	n.attaching.Lock()
	defer n.attaching.Unlock()
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := n.attach(id, path, addr); err != nil {
		return "", errors.Join(fmt.Errorf("attach %s: %w", id, err), n.detach(id, path))
	}
	return path, nil
}

func (n *Network) attach(id, path string, addr netip.Addr) error {
	bridge, own, err := n.bridge()
	if err != nil {
		return err
	}
	gw := own.Addr()
	if addr == gw || !own.Contains(addr) {
		return fmt.Errorf("address %s is not one for a container of this node, whose bridge is %s", addr, own)
	}
	veths, err := n.veths()
	if err != nil {
		return err
	}
	name := vethName(addr)
	complete := false
	for _, v := range veths {
		mine, same := v.Attrs().Alias == id, v.Attrs().Name == name
		switch {
		case mine && same && isNamespace(path):
			complete = true
		case mine || same && !n.alive(v.Attrs().Alias):
			// Left over from another address of this container, or from another container of this address.
			if err := n.deleteLink(v); err != nil {
				return err
			}
		case same:
			return fmt.Errorf("address %s belongs to %s", addr, v.Attrs().Alias)
		}
	}
	if !isNamespace(path) {
		if err := makeNamespace(path); err != nil {
			return err
		}
	}
	namespace, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer namespace.Close()
	if !complete {
		if err := n.makeVeth(name, addr, namespace); err != nil {
			return err
		}
	}
	if err := n.join(name, id, bridge); err != nil {
		return err
	}
	return inNamespace(namespace, func() error { return configure(addr, gw) })
}

// makeVeth makes the pair, one end on the node, the other in the container.
func (n *Network) makeVeth(name string, addr netip.Addr, namespace *os.File) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerNamespace = inner, hardwareAddr(addr), netlink.NsFd(namespace.Fd())
	if err := n.nl.LinkAdd(veth); err != nil {
		return fmt.Errorf("make interface %s: %w", name, err)
	}
	return nil
}

// join makes the node's end of a pair the container's port of the bridge.
func (n *Network) join(name, id string, bridge netlink.Link) error {
	link, err := n.nl.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", name, err)
	}
	// The alias is how an agent that restarts knows whose interface it is. One without is nobody's.
	if err := n.nl.LinkSetAlias(link, id); err != nil {
		return fmt.Errorf("name the owner of interface %s: %w", name, err)
	}
	if err := n.nl.LinkSetMaster(link, bridge); err != nil {
		return fmt.Errorf("plug interface %s into the bridge: %w", name, err)
	}
	// The bridge may send a frame out where it came in. Where bridged frames pass through iptables (docker
	// turns that on), the bridge itself carries a connection that is translated to another container of the
	// node, and one of a container to itself would be dropped.
	if err := n.nl.LinkSetHairpin(link, true); err != nil {
		return fmt.Errorf("let interface %s reach itself: %w", name, err)
	}
	if err := n.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("set interface %s up: %w", name, err)
	}
	return nil
}

// configure sets up the inside of a container's namespace, on a thread that is in it.
func configure(addr, gw netip.Addr) error {
	nl, err := open(unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer nl.Close()
	lo, err := nl.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo of the container: %w", err)
	}
	if err := nl.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo of the container up: %w", err)
	}
	eth, err := nl.LinkByName(inner)
	if err != nil {
		return fmt.Errorf("find %s of the container: %w", inner, err)
	}
	// The address has no network: everything goes through the gateway, also what is for a container of the
	// same node, because its replies have to be translated back there.
	err = nl.AddrAdd(eth, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(addr, 32))})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("set the address of the container: %w", err)
	}
	if err := nl.LinkSetUp(eth); err != nil {
		return fmt.Errorf("set %s of the container up: %w", inner, err)
	}
	err = nl.RouteReplace(&netlink.Route{
		Dst: ipNet(netip.PrefixFrom(netip.IPv4Unspecified(), 0)), Gw: gw.AsSlice(),
		LinkIndex: eth.Attrs().Index, Flags: int(netlink.FLAG_ONLINK),
	})
	if err != nil {
		return fmt.Errorf("set the default route of the container: %w", err)
	}
	return nil
}

// Detach takes away what Attach made. It is no error if there is nothing.
func (n *Network) Detach(ctx context.Context, id string) error {
	path, err := n.path(id)
	if err != nil {
		return err
	}
	n.attaching.Lock()
	defer n.attaching.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	return n.detach(id, path)
}

func (n *Network) detach(id, path string) error {
	veths, err := n.veths()
	if err != nil {
		return err
	}
	var errs []error
	for _, v := range veths {
		if v.Attrs().Alias == id {
			errs = append(errs, n.deleteLink(v))
		}
	}
	return errors.Join(append(errs, removeNamespace(path))...)
}

// Attachments lists the containers that are attached, in order of ID.
func (n *Network) Attachments() ([]Attachment, error) {
	n.attaching.Lock()
	defer n.attaching.Unlock()
	veths, err := n.veths()
	if err != nil {
		return nil, err
	}
	found := map[string]Attachment{}
	files, err := os.ReadDir(n.config.Namespaces)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	for _, f := range files {
		found[f.Name()] = Attachment{ID: f.Name(), Namespace: filepath.Join(n.config.Namespaces, f.Name())}
	}
	for _, v := range veths {
		id := v.Attrs().Alias
		path, err := n.path(id)
		if err != nil {
			continue // Not made by this package.
		}
		a := Attachment{ID: id, Namespace: path}
		if isNamespace(path) {
			a.Addr = vethAddr(v.Attrs().Name)
		}
		found[id] = a
	}
	var list []Attachment
	for _, a := range found {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b Attachment) int { return strings.Compare(a.ID, b.ID) })
	return list, nil
}

// path is where the namespace of a container has its name. The ID has to be good for a file's name.
func (n *Network) path(id string) (string, error) {
	if id == "" || id == "." || id == ".." || strings.ContainsAny(id, "/\x00") || len(id) > 128 {
		return "", fmt.Errorf("container ID %q cannot be the name of a network namespace", id)
	}
	return filepath.Join(n.config.Namespaces, id), nil
}

func (n *Network) alive(id string) bool {
	path, err := n.path(id)
	return err == nil && isNamespace(path)
}

// bridge returns the containers' bridge and its address with the network it stands for.
func (n *Network) bridge() (netlink.Link, netip.Prefix, error) {
	link, err := n.nl.LinkByName(n.config.Bridge)
	if err != nil {
		return nil, netip.Prefix{}, fmt.Errorf("find bridge %s: %w", n.config.Bridge, err)
	}
	addrs, err := n.addrs(link)
	if err != nil {
		return nil, netip.Prefix{}, fmt.Errorf("find the address of bridge %s: %w", n.config.Bridge, err)
	}
	if len(addrs) == 0 {
		return nil, netip.Prefix{}, fmt.Errorf("bridge %s has no address yet", n.config.Bridge)
	}
	return link, prefixOf(addrs[0].IPNet), nil
}

// veths returns the containers' interfaces on the node's side.
func (n *Network) veths() ([]netlink.Link, error) {
	links, err := whole(n.nl.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	return slices.DeleteFunc(links, func(l netlink.Link) bool {
		return l.Type() != "veth" || !vethAddr(l.Attrs().Name).IsValid()
	}), nil
}

func (n *Network) deleteLink(l netlink.Link) error {
	if err := n.nl.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete interface %s: %w", l.Attrs().Name, err)
	}
	return nil
}

func vethName(a netip.Addr) string { return vethPrefix + hex.EncodeToString(a.AsSlice()) }

// vethAddr is the reverse of vethName, and the zero address for another name.
func vethAddr(name string) netip.Addr {
	b, err := hex.DecodeString(strings.TrimPrefix(name, vethPrefix))
	if err != nil || len(b) != 4 || !strings.HasPrefix(name, vethPrefix) {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(b))
}
