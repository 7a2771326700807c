package loadbalance

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// entry is a rule for packets with one key, which is a port or an address.
type entry struct {
	family *family
	key    uint32
	rule   string
}

// family is a kind of key.
type family struct {
	bits  int                             // of a key
	match func(first, last uint32) string // selects packets by an aligned block of keys
	chain func(first, last uint32) string // names the chain of such a block; at most 28 characters
}

var (
	tcpPorts     = portFamily(cluster.TCP)
	udpPorts     = portFamily(cluster.UDP)
	portFamilies = map[cluster.Protocol]*family{cluster.TCP: tcpPorts, cluster.UDP: udpPorts}
	virtual      = &family{32, func(first, last uint32) string { return "-d " + block(first, last).String() },
		func(first, last uint32) string { return chainOf("V", first, last) }}
	hairpin = &family{32, func(first, last uint32) string {
		b := block(first, last)
		return fmt.Sprintf("-s %s -d %s", b, b)
	}, func(first, last uint32) string { return chainOf("S", first, last) }}
)

func portFamily(proto cluster.Protocol) *family {
	match := fmt.Sprintf("-p %s -m %s --dport ", proto, proto)
	chain := Prefix + strings.ToUpper(string(proto)) + "-"
	span := func(sep string, first, last uint32) string {
		s := strconv.Itoa(int(first))
		if first != last {
			s += sep + strconv.Itoa(int(last))
		}
		return s
	}
	return &family{16,
		func(first, last uint32) string { return match + span(":", first, last) },
		func(first, last uint32) string { return chain + span("-", first, last) }}
}

// chainOf names the chain of a block of addresses, such as PISWARM-V24-10.77.240.0.
func chainOf(kind string, first, last uint32) string {
	b := block(first, last)
	return fmt.Sprintf("%s%s%d-%s", Prefix, kind, b.Bits(), b.Addr())
}

// block is the prefix of an aligned block of addresses.
func block(first, last uint32) netip.Prefix {
	bits := 32
	for span := last - first; span > 0; span >>= 1 {
		bits--
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, first))), bits)
}

func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

const (
	// fanOut is how many rules a chain of a dispatch may have before it leads to smaller blocks of keys instead.
	fanOut = 32
	// stepBits is the logarithm of the number of blocks that it then leads to.
	stepBits = 4
)

// dispatch returns the chains that lead from chain name to the entries. A packet is compared with at most 16 rules in
// each of them, or 32 in the last; with a thousand entries that is some 40, and only the first packet of a connection
// pays them. Where a block begins and ends does not depend on what is in it: one entry more or less changes one chain,
// and not all that follow it.
func dispatch(name string, entries []entry, families ...*family) []Chain {
	top := Chain{Name: name}
	var below []Chain
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.key, b.key) })
	for _, f := range families {
		own := slices.DeleteFunc(slices.Clone(entries), func(e entry) bool { return e.family != f })
		rules, chains := f.tree(own, f.bits)
		top.Rules = append(top.Rules, rules...)
		below = append(below, chains...)
	}
	return append([]Chain{top}, below...)
}

// tree returns the rules for entries that differ in no more than their last bits, and the chains that these lead to.
func (f *family) tree(entries []entry, bits int) (rules []string, chains []Chain) {
	if len(entries) <= fanOut {
		for _, e := range entries {
			rules = append(rules, e.rule)
		}
		return rules, nil
	}
	bits -= stepBits
	if entries[0].key>>bits == entries[len(entries)-1].key>>bits {
		return f.tree(entries, bits) // a chain of one rule would lead nowhere else
	}
	for len(entries) > 0 {
		first := entries[0].key >> bits << bits
		last := first + 1<<bits - 1
		n := 1
		for n < len(entries) && entries[n].key <= last {
			n++
		}
		c := Chain{Name: f.chain(first, last)}
		var below []Chain
		c.Rules, below = f.tree(entries[:n], bits)
		rules = append(rules, f.match(first, last)+" -j "+c.Name)
		chains = append(append(chains, c), below...)
		entries = entries[n:]
	}
	return rules, chains
}
