package loadbalance

import "strings"

// Prefix starts the name of every chain that piswarm owns.
const Prefix = "PISWARM-"

// Ruleset is the whole of piswarm's rules on a node.
type Ruleset struct {
	Tables []Table
}

// Table is piswarm's part of one table of the packet filter.
type Table struct {
	Name   string
	Jumps  []Jump
	Chains []Chain
}

// Jump is the first rule of a built-in chain, through which packets get to a chain of piswarm's.
type Jump struct {
	From, To string
}

// Rule is the jump without the command and the chain that it stands in.
func (j Jump) Rule() string { return "-j " + j.To }

// Chain is a chain that piswarm owns.
type Chain struct {
	Name  string
	Rules []string // each as it follows "-A NAME "
}

// String is the text that, given to iptables-restore --noflush, makes the rules in a network namespace that
// has none of piswarm's.
func (r Ruleset) String() string {
	var b strings.Builder
	for _, t := range r.Tables {
		b.WriteString(t.String())
	}
	return b.String()
}

// String is the table's part of [Ruleset.String].
func (t Table) String() string {
	var b strings.Builder
	b.WriteString("*" + t.Name + "\n")
	for _, c := range t.Chains {
		b.WriteString(":" + c.Name + " - [0:0]\n")
	}
	for _, j := range t.Jumps {
		b.WriteString("-I " + j.From + " " + j.Rule() + "\n")
	}
	for _, c := range t.Chains {
		b.WriteString(c.String())
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// String is the chain's rules, a line each.
func (c Chain) String() string {
	var b strings.Builder
	for _, r := range c.Rules {
		b.WriteString("-A " + c.Name + " " + r + "\n")
	}
	return b.String()
}
