package lab

import (
	"errors"
	"fmt"
	"sync"

	"github.com/vishvananda/netlink"
)

// Split parts the LAN: hosts of different groups do not hear each other any more, neither by broadcast nor by
// multicast. A host that is in no group, such as the laptop, goes on reaching all. An earlier split is undone.
func (l *Lab) Split(groups ...[]string) error {
	members := map[string]int{}
	for i, group := range groups {
		if len(group) == 0 {
			return fmt.Errorf("split: group %d is empty", i+1)
		}
		for _, name := range group {
			if _, err := l.host(name); err != nil {
				return fmt.Errorf("split: %w", err)
			}
			if _, twice := members[name]; twice {
				return fmt.Errorf("split: %s is named twice", name)
			}
			members[name] = i + 1
		}
	}
	if len(groups) < 2 {
		return errors.New("split: want two groups or more")
	}
	return l.lan.split(members)
}

// Unsplit makes the LAN one again.
func (l *Lab) Unsplit() error { return l.lan.split(nil) }

// partition says which group of a split LAN each host is in. Each group has a switch of its own. A cable leads from it
// to the switch of the LAN, into a port that is isolated: what comes in there is not given to other isolated ports.
type partition struct {
	mu      sync.Mutex
	members map[string]int // host → group, counted from 1
	bridges map[int]int    // group → index of its bridge
}

// groupLink is the name of a group's switch, and with an addition that of either end of its cable.
func groupLink(group int) string { return fmt.Sprintf("group%d", group) }

// split moves each host's cable to where it belongs. A host that is off gets there with its next start.
func (l *lan) split(members map[string]int) error {
	l.parts.mu.Lock()
	defer l.parts.mu.Unlock()
	// The old switches go first, so that no frame of one group finds a way to the other. A port whose switch goes
	// belongs to none; for the moment that it takes, nobody hears anybody.
	for group, bridge := range l.parts.bridges {
		if err := l.nl.LinkDel(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Index: bridge}}); err != nil {
			return fmt.Errorf("remove the switch of group %d: %w", group, err)
		}
		// The cable goes with either of its ends.
		cable, err := l.nl.LinkByName(groupLink(group) + "-up")
		if err == nil {
			err = l.nl.LinkDel(cable)
		}
		if err != nil {
			return fmt.Errorf("remove the cable of group %d: %w", group, err)
		}
	}
	old := l.parts.members
	l.parts.members, l.parts.bridges = members, map[int]int{}
	for _, group := range members {
		if _, made := l.parts.bridges[group]; made {
			continue
		}
		bridge, err := l.addGroup(group)
		if err != nil {
			return fmt.Errorf("make the switch of group %d: %w", group, err)
		}
		l.parts.bridges[group] = bridge
	}
	var errs []error
	for _, hosts := range []map[string]int{old, members} {
		for name := range hosts {
			errs = append(errs, l.move(name))
		}
	}
	return errors.Join(errs...)
}

// addGroup makes a group's switch and connects it to that of the LAN.
func (l *lan) addGroup(group int) (bridge int, err error) {
	name := groupLink(group)
	if bridge, err = l.addBridge(netlink.LinkAttrs{Name: name}); err != nil {
		return 0, err
	}
	cable := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name + "-up", MasterIndex: l.bridge}, PeerName: name + "-down"}
	if err := l.nl.LinkAdd(cable); err != nil {
		return 0, err
	}
	up, err := l.nl.LinkByName(name + "-up")
	if err != nil {
		return 0, err
	}
	down, err := l.nl.LinkByName(name + "-down")
	if err != nil {
		return 0, err
	}
	// Isolated before it carries anything.
	if err := l.nl.LinkSetIsolated(up, true); err != nil {
		return 0, fmt.Errorf("isolate its port: %w", err)
	}
	return bridge, errors.Join(
		l.nl.LinkSetMasterByIndex(down, bridge),
		l.nl.LinkSetUp(up),
		l.nl.LinkSetUp(down),
		l.nl.LinkSetUp(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Index: bridge}}),
	)
}

// move plugs a host's cable into the switch that is the host's now. A host that is off has no cable.
func (l *lan) move(name string) error {
	port, err := l.nl.LinkByName(name)
	if isNoLink(err) {
		return nil
	}
	if err == nil {
		err = l.nl.LinkSetMasterByIndex(port, l.switchOf(name))
	}
	if err != nil && !isNoLink(err) {
		return fmt.Errorf("move the cable of %s: %w", name, err)
	}
	return nil
}

// switchOf is the index of the bridge that a host belongs to. The caller holds the partition's lock.
func (l *lan) switchOf(name string) int {
	if group, ok := l.parts.members[name]; ok {
		return l.parts.bridges[group]
	}
	return l.bridge
}

// groupOf is the group that a host is in, 0 for none.
func (l *lan) groupOf(name string) int {
	l.parts.mu.Lock()
	defer l.parts.mu.Unlock()
	return l.parts.members[name]
}
