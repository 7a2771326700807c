package firewall

import (
	"maps"
	"slices"
	"strings"

	"github.com/piswarm/piswarm/pkg/loadbalance"
)

// state is what a table holds of piswarm's.
type state struct {
	// chains are the names of piswarm's chains, with the number of rules in each.
	chains map[string]int
	// jumps are the rules of other chains that lead to one of piswarm's, each as "CHAIN RULE", in order.
	jumps []string
}

// left is what a table holds after it was written.
func left(t loadbalance.Table) state {
	s := state{chains: make(map[string]int, len(t.Chains))}
	for _, c := range t.Chains {
		s.chains[c.Name] = len(c.Rules)
	}
	for _, j := range t.Jumps {
		s.jumps = append(s.jumps, j.From+" "+j.Rule())
	}
	return s
}

// parse reads the output of iptables-save, by table.
func parse(text string) map[string]state {
	tables := map[string]state{}
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
			tables[table] = state{chains: map[string]int{}}
		case table == "":
			// Nothing before the first table is about rules.
		case strings.HasPrefix(line, ":"+loadbalance.Prefix):
			name, _, _ := strings.Cut(line[1:], " ")
			tables[table].chains[name] += 0
		case strings.HasPrefix(line, "-A "):
			chain, rule, _ := strings.Cut(line[3:], " ")
			s := tables[table]
			if strings.HasPrefix(chain, loadbalance.Prefix) {
				s.chains[chain]++
			} else if leadsHere(rule) {
				s.jumps = append(s.jumps, chain+" "+rule)
				tables[table] = s
			}
		}
	}
	return tables
}

// leadsHere tells whether a rule jumps to a chain of piswarm's.
func leadsHere(rule string) bool {
	words := strings.Fields(rule)
	for i, w := range words[:max(0, len(words)-1)] {
		if (w == "-j" || w == "-g") && strings.HasPrefix(words[i+1], loadbalance.Prefix) {
			return true
		}
	}
	return false
}

// rewrite returns the text that changes a table from what it holds to what it should hold, empty if nothing is
// to be done. Chains whose rules are in written already are left alone as long as they exist.
func rewrite(want loadbalance.Table, have state, written map[string][]string) string {
	var declare, jumps, rules, remove strings.Builder
	wanted := make(map[string]bool, len(want.Chains))
	for _, c := range want.Chains {
		wanted[c.Name] = true
		_, exists := have.chains[c.Name]
		as, known := written[c.Name]
		if !exists || !known || !slices.Equal(as, c.Rules) {
			// The declaration makes the chain, or empties it.
			declare.WriteString(":" + c.Name + " - [0:0]\n")
			rules.WriteString(c.String())
		}
	}
	var gone []string
	for name := range have.chains {
		if !wanted[name] {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	for _, name := range gone {
		// All of them are emptied before the first is deleted: they may lead to one another.
		declare.WriteString(":" + name + " - [0:0]\n")
		remove.WriteString("-X " + name + "\n")
	}
	present := map[string]bool{}
	for _, j := range have.jumps {
		keep := slices.ContainsFunc(want.Jumps, func(w loadbalance.Jump) bool { return j == w.From+" "+w.Rule() })
		if !keep || present[j] {
			jumps.WriteString("-D " + j + "\n")
		}
		present[j] = true
	}
	for _, w := range want.Jumps {
		if !present[w.From+" "+w.Rule()] {
			jumps.WriteString("-I " + w.From + " " + w.Rule() + "\n")
		}
	}
	body := declare.String() + jumps.String() + rules.String() + remove.String()
	if body == "" {
		return ""
	}
	return "*" + want.Name + "\n" + body + "COMMIT\n"
}

// holds tells whether a table has the wanted jumps and chains, each with as many rules as wanted.
func (s state) holds(want loadbalance.Table) bool {
	if len(s.chains) != len(want.Chains) || len(s.jumps) != len(want.Jumps) {
		return false
	}
	for _, c := range want.Chains {
		if n, ok := s.chains[c.Name]; !ok || n != len(c.Rules) {
			return false
		}
	}
	for _, j := range want.Jumps {
		if !slices.Contains(s.jumps, j.From+" "+j.Rule()) {
			return false
		}
	}
	return true
}

func tableNames(tables map[string]state) []string { return slices.Sorted(maps.Keys(tables)) }
