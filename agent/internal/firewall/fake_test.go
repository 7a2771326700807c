package firewall

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// fake is a packet filter that knows chains and rules as texts, and what iptables-restore does with them. It
// knows nothing of what the rules mean.
type fake struct {
	tables map[string][]*fakeChain
	log    []string // each text that was restored
	saves  int
	made   uint32 // changes
}

type fakeChain struct {
	name  string
	own   bool // by a user, not built in
	rules []string
}

func newFake() *fake {
	return &fake{tables: map[string][]*fakeChain{
		"filter": {{name: "INPUT"}, {name: "FORWARD"}, {name: "OUTPUT"}},
		"raw":    {{name: "PREROUTING"}},
		"mangle": {{name: "PREROUTING"}},
		"nat":    {{name: "PREROUTING"}, {name: "INPUT"}, {name: "OUTPUT"}, {name: "POSTROUTING"}},
	}}
}

// save renders the rules as iptables-save does.
func (k *fake) save(context.Context) (string, error) {
	k.saves++
	var b strings.Builder
	for _, table := range []string{"filter", "raw", "mangle", "nat"} {
		fmt.Fprintf(&b, "*%s\n", table)
		for _, c := range k.tables[table] {
			policy := "ACCEPT"
			if c.own {
				policy = "-"
			}
			fmt.Fprintf(&b, ":%s %s [0:0]\n", c.name, policy)
		}
		for _, c := range k.tables[table] {
			for _, r := range c.rules {
				fmt.Fprintf(&b, "-A %s %s\n", c.name, r)
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String(), nil
}

// mark counts the changes, as nftables does.
func (k *fake) mark() (mark, error) { return mark{generation: k.made}, nil }

// restore carries out each table's part on a copy, which it keeps if all of it is right.
func (k *fake) restore(_ context.Context, text string) error {
	k.log = append(k.log, text)
	var name string
	var chains []*fakeChain
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "*"):
			name = line[1:]
			chains = nil
			for _, c := range k.tables[name] {
				chains = append(chains, &fakeChain{c.name, c.own, slices.Clone(c.rules)})
			}
		case line == "COMMIT":
			for _, c := range chains {
				for _, r := range c.rules {
					f := strings.Fields(r)
					if i := slices.Index(f, "-j"); strings.HasPrefix(f[i+1], "PISWARM-") && find(chains, f[i+1]) == nil {
						return fmt.Errorf("no chain %s", f[i+1])
					}
				}
			}
			k.tables[name] = chains
			k.made++
		default:
			var err error
			if chains, err = edit(chains, line); err != nil {
				return fmt.Errorf("line %q: %w", line, err)
			}
		}
	}
	return nil
}

func find(chains []*fakeChain, name string) *fakeChain {
	if i := slices.IndexFunc(chains, func(c *fakeChain) bool { return c.name == name }); i >= 0 {
		return chains[i]
	}
	return nil
}

func edit(chains []*fakeChain, line string) ([]*fakeChain, error) {
	if name, ok := strings.CutPrefix(line, ":"); ok {
		name, _, _ = strings.Cut(name, " ")
		if c := find(chains, name); c != nil {
			c.rules = nil
			return chains, nil
		}
		return append(chains, &fakeChain{name: name, own: true}), nil
	}
	f := strings.SplitN(line, " ", 3)
	c := find(chains, f[1])
	if c == nil {
		return nil, fmt.Errorf("no chain %s", f[1])
	}
	switch f[0] {
	case "-A":
		c.rules = append(c.rules, f[2])
	case "-I":
		c.rules = slices.Insert(c.rules, 0, f[2])
	case "-D":
		i := slices.Index(c.rules, f[2])
		if i < 0 {
			return nil, fmt.Errorf("no such rule")
		}
		c.rules = slices.Delete(c.rules, i, i+1)
	case "-F":
		c.rules = nil
	case "-X":
		if len(c.rules) > 0 {
			return nil, fmt.Errorf("chain is not empty")
		}
		chains = slices.DeleteFunc(chains, func(o *fakeChain) bool { return o == c })
	default:
		return nil, fmt.Errorf("unknown command")
	}
	return chains, nil
}
