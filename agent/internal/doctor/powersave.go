package doctor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// powerSave asks the kernel's nl80211, as the program iw does, which not every Pi has.
func powerSave(link string) (bool, error) {
	i, err := net.InterfaceByName(link)
	if err != nil {
		return false, err
	}
	family, err := netlink.GenlFamilyGet("nl80211")
	if err != nil {
		return false, fmt.Errorf("find nl80211: %w", err)
	}
	ask := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_REQUEST)
	ask.AddData(&nl.Genlmsg{Command: unix.NL80211_CMD_GET_POWER_SAVE, Version: uint8(family.Version)})
	ask.AddData(nl.NewRtAttr(unix.NL80211_ATTR_IFINDEX, nl.Uint32Attr(uint32(i.Index))))
	messages, err := ask.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return false, fmt.Errorf("ask nl80211: %w", err)
	}
	for _, m := range messages {
		attributes, err := nl.ParseRouteAttr(m[min(len(m), nl.SizeofGenlmsg):])
		if err != nil {
			return false, fmt.Errorf("ask nl80211: %w", err)
		}
		for _, a := range attributes {
			if a.Attr.Type == unix.NL80211_ATTR_PS_STATE && len(a.Value) >= 4 {
				return binary.NativeEndian.Uint32(a.Value) == unix.NL80211_PS_ENABLED, nil
			}
		}
	}
	return false, errors.New("ask nl80211: an answer without the state")
}
