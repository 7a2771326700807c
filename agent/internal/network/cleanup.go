package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
)

// Cleanup removes all that this package ever makes, by its names and numbers alone. It is to be called before
// the firewall's guard of 127.0.0.0/8 goes, because it closes what that guards. Of the other kernel settings
// nobody knows any more what they were, or who else counts on them; they stay until the next boot.
func (n *Network) Cleanup(ctx context.Context) error {
	n.attaching.Lock()
	defer n.attaching.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	errs := []error{n.closeLocalhost()}
	veths, err := n.veths()
	errs = append(errs, err)
	for _, v := range veths {
		errs = append(errs, n.deleteLink(v))
	}
	files, err := os.ReadDir(n.config.Namespaces)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, fmt.Errorf("list network namespaces: %w", err))
	}
	for _, f := range files {
		errs = append(errs, removeNamespace(filepath.Join(n.config.Namespaces, f.Name())))
	}
	rules, err := n.rules()
	errs = append(errs, err)
	for r := range rules {
		errs = append(errs, n.deleteRule(r))
	}
	routes, err := n.routes()
	errs = append(errs, err)
	for r := range routes {
		errs = append(errs, n.deleteRoute(r))
	}
	bridge, err := n.nl.LinkByName(n.config.Bridge)
	switch {
	case errors.As(err, new(netlink.LinkNotFoundError)):
	case err != nil:
		errs = append(errs, fmt.Errorf("find bridge %s: %w", n.config.Bridge, err))
	case bridge.Type() == "bridge":
		errs = append(errs, n.deleteLink(bridge))
	}
	return errors.Join(errs...)
}

// closeLocalhost takes back route_localnet on whatever may have been the LAN interface.
func (n *Network) closeLocalhost() error {
	all, err := n.addresses()
	if err != nil {
		return err
	}
	return n.inside(func() error {
		var errs []error
		for _, l := range all {
			if n.likelyLAN(l) {
				errs = append(errs, sysctl{name: "net/ipv4/conf/" + l.Interface + "/route_localnet", value: 0}.apply("/proc/sys/"))
			}
		}
		return errors.Join(errs...)
	})
}
