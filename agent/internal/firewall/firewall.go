// Package firewall puts piswarm's rules into the kernel's packet filter, and takes them out again.
//
// It owns the chains whose names start with PISWARM- and the jumps to them, in the tables filter, raw, mangle and
// nat. It must not touch any other rule: docker's, ufw's and the user's own stay as they are, where they are.
// What the rules say is decided by package loadbalance alone.
//
// The rules are changed by iptables-restore --noflush, which replaces a table's chains in one step: no packet
// sees half a change. Both variants of iptables work; the one that the machine's iptables command stands for
// is used, because rules in both at once would be a riddle to whoever reads them.
package firewall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/coreos/go-iptables/iptables"
	"github.com/piswarm/piswarm/pkg/loadbalance"
)

// filter is the packet filter as this package needs it: a text out, a text in.
type filter interface {
	// save returns all rules in the form of iptables-save.
	save(ctx context.Context) (string, error)
	// restore carries out a text of iptables-restore --noflush, each table of it in one step.
	restore(ctx context.Context, text string) error
	// mark returns what is another one after whoever has changed a rule. It starts no process.
	mark() (mark, error)
}

// Firewall is piswarm's part of the packet filter of one network namespace: that of the thread that calls it.
type Firewall struct {
	tool filter

	mu sync.Mutex
	// applied is what was last written, as far as it is known to have arrived: nil at the start and after an error.
	// Chains that did not change since are left alone, so that their round robin goes on where it was.
	applied *loadbalance.Ruleset
	// intact tells that the rules are all there as long as the packet filter has the mark seen.
	intact bool
	seen   mark

	changes atomic.Uint64
}

// Config says which packet filter to use.
type Config struct {
	// Command is iptables, or iptables-nft or iptables-legacy to insist on one of the two. Empty is iptables.
	Command string
}

// New finds the machine's iptables. It changes nothing.
func New(config Config) (*Firewall, error) {
	command := config.Command
	if command == "" {
		command = "iptables"
	}
	ipt, err := iptables.New(iptables.IPFamily(iptables.ProtocolIPv4), iptables.Path(command))
	if err != nil {
		return nil, fmt.Errorf("find %s (on Debian: apt install iptables): %w", command, err)
	}
	// From 1.6.2 on, iptables-restore waits for others that hold the lock, instead of failing.
	a, b, c := ipt.GetIptablesVersion()
	if a < 1 || a == 1 && (b < 6 || b == 6 && c < 2) {
		return nil, fmt.Errorf("%s is version %d.%d.%d: want 1.6.2 or newer", command, a, b, c)
	}
	tool, err := findCommands(command)
	if err != nil {
		return nil, err
	}
	return newFirewall(tool), nil
}

func newFirewall(tool filter) *Firewall { return &Firewall{tool: tool} }

// Apply makes the rules be those of the ruleset. With the ruleset of the last successful call it does nothing,
// not even look. The first call after a start goes from whatever rules of piswarm's it finds to the wanted
// ones in one step, so the ingress of an agent that restarts never stops. If it fails, each table is either as
// it was or as wanted, and calling it again is right.
//
// Connections go to a dead node until this is done. So it takes the rules to be as it left them and writes at once;
// whether they were is for Repair to see afterwards.
func (f *Firewall) Apply(ctx context.Context, rules loadbalance.Ruleset) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.applied == nil {
		return f.look(ctx, rules)
	}
	if same(*f.applied, rules) {
		return nil
	}
	before := map[string]state{}
	for _, t := range f.applied.Tables {
		before[t.Name] = left(t)
	}
	err := f.write(ctx, rules, before)
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return f.look(ctx, rules) // somebody has taken away what the change builds on
}

// look finds out what rules there are, and writes.
func (f *Firewall) look(ctx context.Context, rules loadbalance.Ruleset) error {
	f.intact = false
	text, err := f.tool.save(ctx)
	if err != nil {
		return err
	}
	return f.write(ctx, rules, parse(text))
}

// write goes from the rules that there are to the wanted ones.
func (f *Firewall) write(ctx context.Context, rules loadbalance.Ruleset, present map[string]state) error {
	var change strings.Builder
	changed := uint32(0)
	for _, t := range rules.Tables {
		if text := rewrite(t, present[t.Name], f.written(t.Name)); text != "" {
			change.WriteString(text)
			changed++
		}
	}
	if changed > 0 {
		if err := f.tool.restore(ctx, change.String()); err != nil {
			f.applied, f.intact = nil, false
			return err
		}
		// To read a thousand services back takes longer than to change one. It is not needed where the mark tells our
		// own changes from those of others.
		f.seen = f.seen.after(changed)
		f.changes.Add(1)
	}
	f.applied = &rules
	return nil
}

// written are the rules of the chains of a table, by name, as they were last written.
func (f *Firewall) written(table string) map[string][]string {
	if f.applied == nil {
		return nil
	}
	for _, t := range f.applied.Tables {
		if t.Name == table {
			written := make(map[string][]string, len(t.Chains))
			for _, c := range t.Chains {
				written[c.Name] = c.Rules
			}
			return written
		}
	}
	return nil
}

// same tells whether two rulesets are alike.
func same(a, b loadbalance.Ruleset) bool {
	return slices.EqualFunc(a.Tables, b.Tables, func(a, b loadbalance.Table) bool {
		return a.Name == b.Name && slices.Equal(a.Jumps, b.Jumps) &&
			slices.EqualFunc(a.Chains, b.Chains, func(a, b loadbalance.Chain) bool {
				return a.Name == b.Name && slices.Equal(a.Rules, b.Rules)
			})
	})
}

// Repair looks whether the rules of the last Apply are still there, which somebody may have flushed, and writes
// them anew if not; then it says so. As long as nobody changes anything in the packet filter it starts no process,
// so it may be called often. A rule that somebody changed without changing the number of rules is not noticed.
func (f *Firewall) Repair(ctx context.Context) (repaired bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.applied == nil {
		return false, nil // the next Apply looks
	}
	// The mark is read first: what happens after the look must not count as seen.
	mark, err := f.tool.mark()
	if err != nil {
		return false, err
	}
	if f.intact && mark == f.seen {
		return false, nil
	}
	text, err := f.tool.save(ctx)
	if err != nil {
		return false, err
	}
	present := parse(text)
	f.intact, f.seen = true, mark
	for _, t := range f.applied.Tables {
		f.intact = f.intact && present[t.Name].holds(t)
	}
	if f.intact {
		return false, nil
	}
	rules := *f.applied
	f.applied = nil // no chain's text is known
	return true, f.write(ctx, rules, present)
}

// Changes is how often the rules were changed.
func (f *Firewall) Changes() uint64 { return f.changes.Load() }

// Execs is how many processes the firewall has started.
func (f *Firewall) Execs() uint64 {
	if c, ok := f.tool.(*commands); ok {
		return c.execs.Load()
	}
	return 0
}

// Cleanup removes every chain of piswarm's and every jump to one, of both variants of iptables. It needs no
// memory of what was done, and other people's rules stay.
func Cleanup(ctx context.Context) error {
	var errs []error
	found := false
	for _, command := range []string{"iptables-nft", "iptables-legacy", "iptables"} {
		tool, err := findCommands(command)
		if err != nil {
			continue
		}
		found = true
		errs = append(errs, cleanup(ctx, tool))
	}
	if !found {
		return errors.New("remove the rules: no iptables found (on Debian: apt install iptables)")
	}
	return errors.Join(errs...)
}

func cleanup(ctx context.Context, tool filter) error {
	text, err := tool.save(ctx)
	if err != nil {
		return err
	}
	present := parse(text)
	change := ""
	for _, name := range tableNames(present) {
		change += rewrite(loadbalance.Table{Name: name}, present[name], nil)
	}
	if change == "" {
		return nil
	}
	return tool.restore(ctx, change)
}
