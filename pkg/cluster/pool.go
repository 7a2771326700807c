package cluster

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// DefaultPool is the pod network of a cluster whose init named none.
const DefaultPool = "10.77.0.0/16"

// Pool is the network of all containers of a cluster. It is cut into /24s: the first is nobody's, the last
// sixteenth of the pool holds the services' virtual addresses, each of the others is for one node.
type Pool struct{ prefix netip.Prefix }

// Sizes of a pool in bits. The largest has 3,839 nodes, the smallest 14.
const minPoolBits, maxPoolBits = 12, 20

// ParsePool reads a pool, for example 10.77.0.0/16.
func ParsePool(s string) (Pool, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() {
		return Pool{}, fmt.Errorf("pool %q: want an IPv4 network such as %s", s, DefaultPool)
	}
	if p.Bits() < minPoolBits || p.Bits() > maxPoolBits {
		return Pool{}, fmt.Errorf("pool %q: want one from /%d to /%d, for example %s", s, minPoolBits, maxPoolBits, DefaultPool)
	}
	if p != p.Masked() {
		return Pool{}, fmt.Errorf("pool %q: its network is %s", s, p.Masked())
	}
	if !p.Addr().IsPrivate() {
		return Pool{}, fmt.Errorf("pool %q: want a private network such as %s", s, DefaultPool)
	}
	return Pool{p}, nil
}

func (p Pool) String() string { return p.prefix.String() }

// Prefix is the pool as a network.
func (p Pool) Prefix() netip.Prefix { return p.prefix }

// Nodes is how many nodes the pool has subnets for: their indices are 1…Nodes.
func (p Pool) Nodes() int {
	subnets := 1 << (24 - p.prefix.Bits())
	return subnets - subnets/16 - 1
}

// Subnet is the /24 of that index.
func (p Pool) Subnet(index int) netip.Prefix {
	return netip.PrefixFrom(p.at(uint32(index)<<8), 24)
}

// Index is the index of a subnet; false if it is none of the pool's nodes'.
func (p Pool) Index(subnet netip.Prefix) (int, bool) {
	if subnet.Bits() != 24 || subnet != subnet.Masked() || !p.prefix.Contains(subnet.Addr()) {
		return 0, false
	}
	index := int((number(subnet.Addr()) - number(p.prefix.Addr())) >> 8)
	return index, index >= 1 && index <= p.Nodes()
}

// VirtualIPs is the part of the pool that services' addresses come from.
func (p Pool) VirtualIPs() netip.Prefix {
	size := uint32(1) << (32 - p.prefix.Bits())
	return netip.PrefixFrom(p.at(size-size/16), p.prefix.Bits()+4)
}

// VirtualIP is the n-th of the virtual addresses, taken round; none of them ends in 0 or 255, which some
// programs refuse.
func (p Pool) VirtualIP(n uint32) netip.Addr {
	blocks := uint32(1) << (24 - p.prefix.Bits() - 4)
	n %= blocks * 254
	return p.at(number(p.VirtualIPs().Addr()) - number(p.prefix.Addr()) + n/254<<8 + 1 + n%254)
}

func (p Pool) at(offset uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], number(p.prefix.Addr())+offset)
	return netip.AddrFrom4(b)
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

// ChooseVirtualIP returns the virtual address for a service of that name: one that its hash names, or the next
// that no other service has. It is the zero address when all are taken.
func (p Pool) ChooseVirtualIP(name string, taken map[netip.Addr]bool) netip.Addr {
	start := hash(name)
	for n := range uint32(1) << (28 - p.prefix.Bits()) {
		if a := p.VirtualIP(start + n); !taken[a] {
			return a
		}
	}
	return netip.Addr{}
}

// ChooseSubnet returns the index of the subnet for a node of that ID: one that its hash names, or the next that
// no other node has. It is 0 when all are taken.
func (p Pool) ChooseSubnet(id string, taken map[int]bool) int {
	start := hash(id)
	for n := range uint32(p.Nodes()) {
		if index := 1 + int((uint64(start)+uint64(n))%uint64(p.Nodes())); !taken[index] {
			return index
		}
	}
	return 0
}

// hash is 32-bit FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/): short, and the same on every node.
func hash(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}
