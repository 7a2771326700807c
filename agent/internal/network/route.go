package network

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/piswarm/piswarm/pkg/loadbalance"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// route is one of piswarm's routes, comparable.
type route struct {
	table int
	kind  int // unix.RTN_…
	dst   netip.Prefix
	via   netip.Addr // the zero address for a kind without a next hop
	link  int
}

// place is what a route is found by: another route of the same place is the same route, changed.
func (r route) place() route { return route{table: r.table, dst: r.dst} }

func (r route) netlink() *netlink.Route {
	nr := &netlink.Route{Table: r.table, Type: r.kind, Dst: ipNet(r.dst), Protocol: Protocol}
	if r.via.IsValid() {
		nr.Gw = r.via.AsSlice()
		nr.LinkIndex = r.link
	}
	return nr
}

func (r route) String() string {
	if r.via.IsValid() {
		return fmt.Sprintf("route %s via %s table %d", r.dst, r.via, r.table)
	}
	return fmt.Sprintf("route %s of type %d table %d", r.dst, r.kind, r.table)
}

// rule leads the packets of a mark to a table.
type rule struct {
	mark  uint32
	table int
}

func (r rule) netlink() *netlink.Rule {
	nr := netlink.NewRule()
	mask := loadbalance.MarkMask
	nr.Family, nr.Priority, nr.Mark, nr.Mask, nr.Table = unix.AF_INET, RulePriority, r.mark, &mask, r.table
	return nr
}

// plan returns the routes and rules that a node needs; link is the LAN interface, 0 for none.
func plan(want Wanted, link int) (routes []route, rules []rule) {
	// What no node has is unreachable at once, rather than sent to the router or into the void: addresses of
	// nodes that are gone, and virtual IPs of services without a ready task.
	for _, p := range []netip.Prefix{want.Pool, want.VirtualIPs} {
		if p.IsValid() {
			routes = append(routes, route{table: unix.RT_TABLE_MAIN, kind: unix.RTN_UNREACHABLE, dst: p.Masked()})
		}
	}
	for _, p := range want.Peers {
		if link == 0 || !p.Subnet.IsValid() || !p.Address.IsValid() {
			continue
		}
		routes = append(routes, route{unix.RT_TABLE_MAIN, unix.RTN_UNICAST, p.Subnet.Masked(), p.Address, link})
		mark, ok := loadbalance.Mark(p.Index)
		if !ok {
			continue
		}
		// Replies of a connection that came through the peer go back through it. Only replies to our own
		// containers' addresses do not leave: with src_valid_mark on, the reverse path check reads this table.
		table := Table(p.Index)
		routes = append(routes,
			route{table, unix.RTN_THROW, want.Subnet.Masked(), netip.Addr{}, 0},
			route{table, unix.RTN_UNICAST, netip.PrefixFrom(netip.IPv4Unspecified(), 0), p.Address, link})
		rules = append(rules, rule{mark, table})
	}
	return routes, rules
}

// applyRoutes adds what is missing before it removes what is too much. The tables come before the rules that
// lead to them, and go after them.
func (n *Network) applyRoutes(want Wanted) error {
	link := 0
	if want.Interface != "" {
		l, err := n.nl.LinkByName(want.Interface)
		if err != nil {
			return fmt.Errorf("find the LAN interface %s: %w", want.Interface, err)
		}
		link = l.Attrs().Index
	}
	wantRoutes, wantRules := plan(want, link)
	haveRoutes, err := n.routes()
	if err != nil {
		return err
	}
	haveRules, err := n.rules()
	if err != nil {
		return err
	}

	var errs []error
	keep := map[route]bool{}
	for _, r := range wantRoutes {
		keep[r.place()] = true
		if haveRoutes[r] {
			continue
		}
		if err := n.nl.RouteReplace(r.netlink()); err != nil {
			errs = append(errs, fmt.Errorf("add %s: %w", r, err))
		}
	}
	keepRules := map[rule]bool{}
	for _, r := range wantRules {
		keepRules[r] = true
		if haveRules[r] {
			continue
		}
		if err := n.nl.RuleAdd(r.netlink()); err != nil && !errors.Is(err, unix.EEXIST) {
			errs = append(errs, fmt.Errorf("add rule for table %d: %w", r.table, err))
		}
	}
	for r := range haveRules {
		if !keepRules[r] {
			errs = append(errs, n.deleteRule(r))
		}
	}
	for r := range haveRoutes {
		if !keep[r.place()] {
			errs = append(errs, n.deleteRoute(r))
		}
	}
	return errors.Join(errs...)
}

// routes returns piswarm's routes in the kernel.
func (n *Network) routes() (map[route]bool, error) {
	list, err := whole(func() ([]netlink.Route, error) {
		return n.nl.RouteListFiltered(netlink.FAMILY_V4,
			&netlink.Route{Table: unix.RT_TABLE_UNSPEC, Protocol: Protocol}, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	routes := map[route]bool{}
	for _, r := range list {
		have := route{table: r.Table, kind: r.Type, dst: prefixOf(r.Dst)}
		if gw, ok := netip.AddrFromSlice(r.Gw); ok {
			have.via, have.link = gw.Unmap(), r.LinkIndex
		}
		routes[have] = true
	}
	return routes, nil
}

// rules returns piswarm's ip rules in the kernel: those that lead to one of its tables.
func (n *Network) rules() (map[rule]bool, error) {
	list, err := whole(func() ([]netlink.Rule, error) { return n.nl.RuleList(netlink.FAMILY_V4) })
	if err != nil {
		return nil, fmt.Errorf("list ip rules: %w", err)
	}
	rules := map[rule]bool{}
	for _, r := range list {
		if ownTable(r.Table) {
			rules[rule{r.Mark, r.Table}] = true
		}
	}
	return rules, nil
}

func (n *Network) deleteRule(r rule) error {
	if err := n.nl.RuleDel(r.netlink()); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete rule for table %d: %w", r.table, err)
	}
	return nil
}

func (n *Network) deleteRoute(r route) error {
	if err := n.nl.RouteDel(r.netlink()); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("delete %s: %w", r, err)
	}
	return nil
}
