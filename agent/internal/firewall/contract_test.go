package firewall

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/pkg/loadbalance"
	"golang.org/x/sys/unix"
)

// ground is a packet filter to try the firewall on; run carries out an iptables command line of somebody else.
type ground struct {
	tool filter
	run  func(line string)
}

// TestFirewall is the contract, on the fake and on both real packet filters.
func TestFirewall(t *testing.T) {
	t.Run("fake", func(t *testing.T) {
		contract(t, func(t *testing.T) ground {
			k := newFake()
			return ground{k, func(line string) {
				table, rest := "filter", line
				if f := strings.SplitN(line, " ", 3); f[0] == "-t" {
					table, rest = f[1], f[2]
				}
				if err := k.restore(context.Background(), "*"+table+"\n"+rest+"\nCOMMIT\n"); err != nil {
					t.Fatal(err)
				}
			}}
		})
	})
	for _, command := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(command, func(t *testing.T) {
			contract(t, func(t *testing.T) ground {
				enterNamespace(t)
				tool, err := findCommands(command)
				if err != nil {
					t.Fatal(err)
				}
				return ground{tool, func(line string) {
					if out, err := exec.Command("sh", "-c", command+" "+line).CombinedOutput(); err != nil {
						t.Fatalf("%s %s: %v: %s", command, line, err, out)
					}
				}}
			})
		})
	}
}

// enterNamespace gives the test a network namespace of its own. The thread ends with the test's goroutine.
func enterNamespace(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("make a network namespace (this test needs root): %v", err)
	}
}

var (
	web = loadbalance.Ruleset{Tables: []loadbalance.Table{
		{Name: "filter", Jumps: []loadbalance.Jump{{From: "FORWARD", To: "PISWARM-FORWARD"}},
			Chains: []loadbalance.Chain{{Name: "PISWARM-FORWARD", Rules: []string{"-d 10.77.0.0/16 -j DROP"}}}},
		{Name: "nat", Jumps: []loadbalance.Jump{{From: "PREROUTING", To: "PISWARM-PORTS"}, {From: "OUTPUT", To: "PISWARM-PORTS"}},
			Chains: []loadbalance.Chain{
				{Name: "PISWARM-PORTS", Rules: []string{
					"-p tcp -m tcp --dport 80 -j PISWARM-TCP-80",
					"-p tcp -m tcp --dport 90 -j PISWARM-TCP-90",
				}},
				{Name: "PISWARM-TCP-80", Rules: []string{"-p tcp -j DNAT --to-destination 10.77.1.2:80"}},
				{Name: "PISWARM-TCP-90", Rules: []string{"-p tcp -j DNAT --to-destination 10.77.1.2:90"}},
			}},
	}}
	// less has a port less and another backend.
	less = loadbalance.Ruleset{Tables: []loadbalance.Table{
		web.Tables[0],
		{Name: "nat", Jumps: web.Tables[1].Jumps, Chains: []loadbalance.Chain{
			{Name: "PISWARM-PORTS", Rules: []string{"-p tcp -m tcp --dport 80 -j PISWARM-TCP-80"}},
			{Name: "PISWARM-TCP-80", Rules: []string{"-p tcp -j DNAT --to-destination 10.77.1.3:80"}},
		}},
	}}
)

func contract(t *testing.T, fresh func(t *testing.T) ground) {
	ctx := context.Background()
	rules := func(g ground) string {
		t.Helper()
		text, err := g.tool.save(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "-A ") {
				b.WriteString(line)
			}
		}
		return b.String()
	}
	apply := func(t *testing.T, f *Firewall, r loadbalance.Ruleset) {
		t.Helper()
		if err := f.Apply(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	repair := func(t *testing.T, f *Firewall, want bool) {
		t.Helper()
		if got, err := f.Repair(ctx); err != nil || got != want {
			t.Errorf("repaired %t, %v, want %t", got, err, want)
		}
	}
	expect := func(t *testing.T, g ground, want string) {
		t.Helper()
		if got := rules(g); !sameLines(got, want) {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	}
	const forward = "-A FORWARD -j PISWARM-FORWARD\n-A PISWARM-FORWARD -d 10.77.0.0/16 -j DROP\n"
	const jumps = "-A PREROUTING -j PISWARM-PORTS\n-A OUTPUT -j PISWARM-PORTS\n"
	const webRules = forward + jumps +
		"-A PISWARM-PORTS -p tcp -m tcp --dport 80 -j PISWARM-TCP-80\n" +
		"-A PISWARM-PORTS -p tcp -m tcp --dport 90 -j PISWARM-TCP-90\n" +
		"-A PISWARM-TCP-80 -p tcp -j DNAT --to-destination 10.77.1.2:80\n" +
		"-A PISWARM-TCP-90 -p tcp -j DNAT --to-destination 10.77.1.2:90\n"
	const lessRules = forward + jumps +
		"-A PISWARM-PORTS -p tcp -m tcp --dport 80 -j PISWARM-TCP-80\n" +
		"-A PISWARM-TCP-80 -p tcp -j DNAT --to-destination 10.77.1.3:80\n"

	t.Run("applies and changes", func(t *testing.T) {
		g := fresh(t)
		f := newFirewall(g.tool)
		apply(t, f, web)
		expect(t, g, webRules)
		apply(t, f, less)
		expect(t, g, lessRules)
		apply(t, f, web)
		expect(t, g, webRules)
	})
	t.Run("takes over after a restart", func(t *testing.T) {
		g := fresh(t)
		apply(t, newFirewall(g.tool), web)
		apply(t, newFirewall(g.tool), less)
		expect(t, g, lessRules)
	})
	t.Run("leaves others alone", func(t *testing.T) {
		g := fresh(t)
		g.run("-A FORWARD -s 172.17.0.0/16 -j ACCEPT")
		g.run("-t nat -A PREROUTING -p tcp -m tcp --dport 22 -j ACCEPT")
		f := newFirewall(g.tool)
		apply(t, f, web)
		text := rules(g)
		for _, order := range [][2]string{
			{"-A FORWARD -j PISWARM-FORWARD", "-A FORWARD -s 172.17.0.0/16 -j ACCEPT"},
			{"-A PREROUTING -j PISWARM-PORTS", "-A PREROUTING -p tcp -m tcp --dport 22 -j ACCEPT"},
		} {
			ours, theirs := strings.Index(text, order[0]), strings.Index(text, order[1])
			if ours < 0 || theirs < ours {
				t.Errorf("want %q before %q in\n%s", order[0], order[1], text)
			}
		}
		if err := cleanup(ctx, g.tool); err != nil {
			t.Fatal(err)
		}
		expect(t, g, "-A FORWARD -s 172.17.0.0/16 -j ACCEPT\n-A PREROUTING -p tcp -m tcp --dport 22 -j ACCEPT\n")
	})
	t.Run("puts jumps back and takes doubles away", func(t *testing.T) {
		g := fresh(t)
		f := newFirewall(g.tool)
		apply(t, f, web)
		g.run("-t nat -D PREROUTING -j PISWARM-PORTS")
		g.run("-t nat -A OUTPUT -j PISWARM-PORTS")
		g.run("-A INPUT -p udp -j PISWARM-FORWARD")
		apply(t, f, less)
		repair(t, f, true)
		expect(t, g, lessRules)
	})
	t.Run("repairs", func(t *testing.T) {
		g := fresh(t)
		f := newFirewall(g.tool)
		repair(t, f, false) // nothing was applied
		apply(t, f, web)
		repair(t, f, false)
		g.run("-t nat -F PISWARM-PORTS")
		apply(t, f, web) // It does not look.
		repair(t, f, true)
		expect(t, g, webRules)
		repair(t, f, false)
		g.run("-A FORWARD -s 172.17.0.0/16 -j ACCEPT") // somebody else's
		repair(t, f, false)
		g.run("-D FORWARD -j PISWARM-FORWARD")
		repair(t, f, true)
		g.run("-D FORWARD -s 172.17.0.0/16 -j ACCEPT")
		expect(t, g, webRules)
	})
	t.Run("sees the changes of others beside its own", func(t *testing.T) {
		g := fresh(t)
		f := newFirewall(g.tool)
		apply(t, f, web)
		repair(t, f, false)
		apply(t, f, less)
		repair(t, f, false)
		g.run("-t nat -D OUTPUT -j PISWARM-PORTS")
		apply(t, f, web)
		repair(t, f, true)
		apply(t, f, less)
		g.run("-t nat -D OUTPUT -j PISWARM-PORTS")
		repair(t, f, true)
		expect(t, g, lessRules)
	})
	t.Run("sees a rule gone while one of its own came", func(t *testing.T) {
		g := fresh(t)
		f := newFirewall(g.tool)
		apply(t, f, web)
		repair(t, f, false)
		const rule = "-p tcp -m tcp --dport 90 -j PISWARM-TCP-90"
		g.run("-t nat -D PISWARM-PORTS " + rule)
		chains := slices.Clone(web.Tables[1].Chains)
		chains[1].Rules = append([]string{rule}, chains[1].Rules...)
		apply(t, f, loadbalance.Ruleset{Tables: []loadbalance.Table{web.Tables[0], {Name: "nat", Jumps: web.Tables[1].Jumps, Chains: chains}}})
		repair(t, f, true)
		expect(t, g, webRules+"-A PISWARM-TCP-80 "+rule+"\n")
	})
	t.Run("changes rules that somebody has taken away", func(t *testing.T) {
		g := fresh(t)
		f := newFirewall(g.tool)
		apply(t, f, web)
		for _, line := range []string{"PREROUTING -j PISWARM-PORTS", "OUTPUT -j PISWARM-PORTS"} {
			g.run("-t nat -D " + line)
		}
		for _, chain := range []string{"PORTS", "TCP-80", "TCP-90"} {
			g.run("-t nat -F PISWARM-" + chain)
		}
		for _, chain := range []string{"PORTS", "TCP-80", "TCP-90"} {
			g.run("-t nat -X PISWARM-" + chain)
		}
		// The chain that it leads to is no news, and is missing.
		apply(t, f, loadbalance.Ruleset{Tables: []loadbalance.Table{web.Tables[0], {
			Name: "nat", Jumps: web.Tables[1].Jumps,
			Chains: []loadbalance.Chain{
				{Name: "PISWARM-PORTS", Rules: []string{"-p tcp -m tcp --dport 80 -j PISWARM-TCP-80"}}, web.Tables[1].Chains[1],
			},
		}}})
		repair(t, f, false)
		expect(t, g, strings.ReplaceAll(lessRules, "10.77.1.3", "10.77.1.2"))
	})
	t.Run("mends what a change did not touch", func(t *testing.T) {
		g := fresh(t)
		f := newFirewall(g.tool)
		apply(t, f, web)
		g.run("-t nat -D OUTPUT -j PISWARM-PORTS")
		apply(t, f, less)
		repair(t, f, true)
		expect(t, g, lessRules)
	})
	t.Run("a rule the kernel refuses changes nothing", func(t *testing.T) {
		g := fresh(t)
		f := newFirewall(g.tool)
		apply(t, f, web)
		bad := loadbalance.Ruleset{Tables: []loadbalance.Table{less.Tables[0], {Name: "nat", Chains: []loadbalance.Chain{
			{Name: "PISWARM-PORTS", Rules: []string{"-j PISWARM-NOWHERE"}},
		}}}}
		if err := f.Apply(ctx, bad); err == nil {
			t.Fatal("no error")
		}
		expect(t, g, webRules)
		apply(t, f, less)
		expect(t, g, lessRules)
	})
	t.Run("cleans up twice", func(t *testing.T) {
		g := fresh(t)
		apply(t, newFirewall(g.tool), web)
		for range 2 {
			if err := cleanup(ctx, g.tool); err != nil {
				t.Fatal(err)
			}
			expect(t, g, "")
			if text, _ := g.tool.save(ctx); strings.Contains(text, loadbalance.Prefix) {
				t.Errorf("left over:\n%s", text)
			}
		}
	})
}

// sameLines compares without order: the filters list tables and chains in different ones.
func sameLines(a, b string) bool {
	count := map[string]int{}
	for line := range strings.Lines(a) {
		count[line]++
	}
	for line := range strings.Lines(b) {
		count[line]--
	}
	for _, n := range count {
		if n != 0 {
			return false
		}
	}
	return true
}

// Only what changed is written, so that the round robin of the rest goes on.
func TestWritesOnlyWhatChanged(t *testing.T) {
	k := newFake()
	f := newFirewall(k)
	if err := f.Apply(context.Background(), web); err != nil {
		t.Fatal(err)
	}
	if k.log[0] != web.String() {
		t.Errorf("first\n%swant\n%s", k.log[0], web)
	}
	more := loadbalance.Ruleset{Tables: []loadbalance.Table{web.Tables[0], {Name: "nat", Jumps: web.Tables[1].Jumps, Chains: []loadbalance.Chain{
		web.Tables[1].Chains[0], web.Tables[1].Chains[1],
		{Name: "PISWARM-TCP-90", Rules: []string{"-p tcp -j DNAT --to-destination 10.77.1.9:90"}},
	}}}}
	if err := f.Apply(context.Background(), more); err != nil {
		t.Fatal(err)
	}
	const want = "*nat\n:PISWARM-TCP-90 - [0:0]\n-A PISWARM-TCP-90 -p tcp -j DNAT --to-destination 10.77.1.9:90\nCOMMIT\n"
	if k.log[1] != want {
		t.Errorf("second\n%swant\n%s", k.log[1], want)
	}
	// It looks at the start, and once more when nobody waits for it. From then on it knows which changes are its own.
	if k.saves != 1 {
		t.Errorf("%d looks before the change was written", k.saves)
	}
	for _, rules := range []loadbalance.Ruleset{more, more, web, more} {
		if err := f.Apply(context.Background(), rules); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Repair(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if len(k.log) != 4 || k.saves != 2 {
		t.Errorf("%d looks, %d changes, want 2 and 4", k.saves, len(k.log))
	}
}

// nftables counts one change for each table, so that nothing is read back after a change of our own.
func TestOwnChangesAreCounted(t *testing.T) {
	enterNamespace(t)
	tool, err := findCommands("iptables-nft")
	if err != nil {
		t.Fatal(err)
	}
	f := newFirewall(tool)
	both := loadbalance.Ruleset{Tables: []loadbalance.Table{
		{Name: "filter", Jumps: web.Tables[0].Jumps, Chains: []loadbalance.Chain{{Name: "PISWARM-FORWARD", Rules: []string{"-j ACCEPT"}}}},
		less.Tables[1],
	}}
	for i, rules := range []loadbalance.Ruleset{web, less, web, both, web} {
		if err := f.Apply(context.Background(), rules); err != nil {
			t.Fatal(err)
		}
		before := f.Execs()
		if repaired, err := f.Repair(context.Background()); err != nil || repaired {
			t.Errorf("change %d: repaired %t, %v", i, repaired, err)
		}
		if n := f.Execs() - before; i > 0 && n != 0 {
			t.Errorf("change %d: %d processes to see that it is there", i, n)
		}
	}
}

// A command that hangs, or says too much, does not hold the agent up.
func TestCommandsAreBounded(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(dir+"/"+name, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script("tool-save", "exec sleep 60")
	script("tool-restore", "yes complaint | head -c 100000 >&2; exit 3")
	c, err := findCommands(dir + "/tool")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.save(ctx); err == nil {
		t.Error("no error from a command that was given up")
	}
	err = c.restore(context.Background(), "")
	if err == nil || !strings.Contains(err.Error(), "complaint") || len(err.Error()) > 2*maxMessage {
		t.Errorf("error of %d bytes", len(fmt.Sprint(err)))
	}
	script("tool-save", fmt.Sprintf("head -c %d /dev/zero", maxSave+1))
	if _, err := c.save(context.Background()); err == nil {
		t.Error("no error from a command that says too much")
	}
}
