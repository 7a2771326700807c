package doctor

import (
	"context"
	"strconv"
	"strings"
)

const mDNSPort = 5353

// forwarding looks whether something has switched off again what the agent switched on.
func forwarding(_ context.Context, m Machine) Finding {
	switch {
	case m.value("proc/sys/net/ipv4/ip_forward") == "1":
		return fine("on")
	case m.exists("proc/sys/net/ipv4/conf/piswarm0"):
		return trouble("containers are cut off: IPv4 forwarding is off",
			"remove net.ipv4.ip_forward=0 from /etc/sysctl.conf and /etc/sysctl.d, and run: sysctl -w net.ipv4.ip_forward=1")
	}
	return fine("the agent switches it on")
}

// nearlyFull is the part of the connections that the kernel can remember, in percent. When there is no place left, it
// drops packets.
const nearlyFull = 80

func connections(_ context.Context, m Machine) Finding {
	count, err := strconv.ParseUint(m.value("proc/sys/net/netfilter/nf_conntrack_count"), 10, 64)
	most, err2 := strconv.ParseUint(m.value("proc/sys/net/netfilter/nf_conntrack_max"), 10, 64)
	if err != nil || err2 != nil || most == 0 {
		return fine("none are tracked yet")
	}
	if count*100 >= most*nearlyFull {
		return trouble("the kernel's table of connections is nearly full: new connections will be dropped",
			"see who makes so many, or raise net.netfilter.nf_conntrack_max").noted("%d of %d", count, most)
	}
	return fine("%d of %d", count, most)
}

// droppedPackets are those for which the table of connections had no place, since the machine is up.
func droppedPackets(_ context.Context, m Machine) Finding {
	text, err := m.read("proc/net/stat/nf_conntrack")
	if err != nil {
		return fine("none are tracked yet")
	}
	var names []string
	dropped := uint64(0)
	for line := range strings.Lines(text) { // the names, and then a line a processor
		f := strings.Fields(line)
		if names == nil {
			names = f
			continue
		}
		for i, v := range f {
			if i < len(names) && (names[i] == "drop" || names[i] == "early_drop") {
				n, _ := strconv.ParseUint(v, 16, 64)
				dropped += n
			}
		}
	}
	if dropped > 0 {
		return trouble("the kernel's table of connections was full", "raise net.netfilter.nf_conntrack_max").
			noted("%d packets dropped since boot", dropped)
	}
	return fine("none since boot")
}

// mDNS looks whether other nodes can be found by multicast DNS. Another program that answers beside piswarm, as avahi
// does, is fine.
func mDNS(_ context.Context, m Machine) Finding {
	link := m.lan()
	if link == "" {
		return trouble("there is no way to a network", "plug in the cable, or set up the Wi-Fi")
	}
	const up, multicast = 0x1, 0x1000
	flags, err := strconv.ParseUint(strings.TrimPrefix(m.value("sys/class/net/"+link+"/flags"), "0x"), 16, 32)
	if err == nil && (flags&up == 0 || flags&multicast == 0) {
		return trouble(link+" has no multicast: other nodes are not found", "ip link set "+link+" up multicast on")
	}
	if err := m.JoinMDNS(link); err != nil {
		return trouble("no mDNS on "+link+": other nodes are not found",
			"see who has udp port 5353 for itself: ss -ulpn sport = 5353").noted("%v", err)
	}
	return fine("%s", link)
}

// lan is the interface of the default route.
func (m Machine) lan() string {
	text, _ := m.read("proc/net/route")
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == "00000000" {
			return f[0]
		}
	}
	return ""
}

// wifi looks for power save, with which a Pi Zero W answers after up to two seconds and misses multicast.
func wifi(_ context.Context, m Machine) Finding {
	var links []string
	for _, pattern := range []string{"sys/class/net/*/phy80211", "sys/class/net/*/wireless"} {
		for _, path := range m.glob(pattern) {
			links = append(links, strings.Split(path, "/")[3])
		}
		if links != nil {
			break
		}
	}
	if links == nil {
		return fine("none")
	}
	for _, link := range links {
		sleeps, err := m.PowerSave(link)
		if err != nil {
			return fine("%s: not known whether it saves power: %v", link, err)
		}
		if sleeps {
			return trouble(link+" saves power: it answers late and misses packets",
				"iw dev "+link+" set power_save off; for good: nmcli connection modify NAME 802-11-wireless.powersave 2")
		}
	}
	return fine("%s, no power save", strings.Join(links, ", "))
}
