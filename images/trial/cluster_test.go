package trial

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

var idle = flag.Duration("idle", 10*time.Minute, "how long the writes of an idle Pi are counted")

const (
	mostMemory = 80 << 20 // of agent and containerd together
	mostAgent  = 25 << 20
)

// TestCluster is what the box promises: flash two cards, switch on, and there is a cluster. The only thing that is typed is
// who may log in, for the test to look.
func TestCluster(t *testing.T) {
	b, image := theBoard(t)
	l := newLAN(t, 2)
	one, two := newPi(t, l, b, image, 1), newPi(t, l, b, image, 2)
	one.powerOn()
	two.powerOn()

	for _, g := range []*guest{one, two} {
		g.awaitPrinted("login screen", regexp.QuoteMeta(g.name)+` login: `)
	}
	for _, g := range []*guest{one, two} {
		within(t, bootLimit, g.name+" lets its owner in", func() error { _, err := g.run("true"); return err })
	}
	within(t, 10*time.Minute, "both are one cluster", func() error { return clusterOf(one, two) })
	for _, g := range []*guest{one, two} {
		t.Logf("%s: agent ready %s s after the kernel began, %s", g.name, readySince(g), strings.TrimSpace(g.must("piswarm status --format '{{.Cluster}}, {{.Leader}}'")))
	}
	if t.Failed() {
		return
	}
	t.Run("first boot", func(t *testing.T) { firstBoot(t, one, two) })
	t.Run("login screen", func(t *testing.T) {
		for _, g := range []*guest{one, two} {
			within(t, 5*time.Minute, "what it shows", func() error {
				issue, err := g.run("cat /run/issue.d/piswarm.issue")
				if err == nil && (!strings.Contains(issue, "cluster") || !strings.Contains(issue, g.name) || !strings.Contains(issue, `\n  \4`)) {
					err = fmt.Errorf("login screen: %q", issue)
				}
				return err
			})
			g.awaitPrinted("address on the screen", regexp.QuoteMeta(g.name+"  "+address(g.n)))
		}
	})
	t.Run("memory", func(t *testing.T) { memory(t, one) })
	t.Run("idle", func(t *testing.T) { idleWrites(t, one) })
	t.Run("service", func(t *testing.T) { service(t, l, one, two) })
}

// newPi has the image's card, with a key of the test's that may log in.
func newPi(t *testing.T, l *lan, b board, image string, n int) *guest {
	t.Helper()
	key := filepath.Join(l.dir, "key")
	if _, err := os.Stat(key); err != nil {
		tool(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return newGuest(t, l, b, image, n, func(text string) []byte {
		with := regexp.MustCompile(`(?m)^# ssh_keys = .*$`).ReplaceAllLiteralString(text, fmt.Sprintf("ssh_keys = [%q]", strings.TrimSpace(string(public))))
		if with == text {
			t.Fatalf("the settings suggest no ssh_keys:\n%s", text)
		}
		return []byte(with)
	})
}

func status(g *guest) (s client.Status, err error) {
	out, err := g.run("piswarm status --format json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(out), &s)
}

// clusterOf tells whether those are ready members of one cluster, in the eyes of each.
func clusterOf(guests ...*guest) error {
	for _, g := range guests {
		s, err := status(g)
		if err != nil {
			return err
		}
		ready := map[string]bool{}
		for _, n := range s.Nodes {
			if n.State == cluster.Ready {
				ready[n.Name] = true
			}
		}
		for _, other := range guests {
			if !ready[other.name] {
				return fmt.Errorf("%s sees %+v", g.name, s.Nodes)
			}
		}
	}
	return nil
}

// readySince is what systemd knows of when the agent said that it is ready.
func readySince(g *guest) string {
	us, err := strconv.ParseFloat(strings.TrimSpace(g.must("systemctl show --property ActiveEnterTimestampMonotonic --value piswarm")), 64)
	if err != nil {
		g.t.Fatal(err)
	}
	return strconv.FormatFloat(us/1e6, 'f', 1, 64)
}

// firstBoot looks at what a Pi has made of the card.
func firstBoot(t *testing.T, one, two *guest) {
	own := map[string]string{}
	for _, g := range []*guest{one, two} {
		for what, script := range map[string]string{
			"the token went from the boot partition":         `! grep -q PSWM-1 /boot/firmware/piswarm.toml && sudo grep -q PSWM-1 /etc/piswarm/piswarm.toml`,
			"there were no mistakes":                         `! test -e /boot/firmware/piswarm-errors.txt`,
			"its name":                                       `test "$(hostname)" = ` + g.name,
			"the root has the card":                          `test "$(df --output=size -m / | tail -1)" -gt 1500`,
			"its memory can be limited":                      `grep -qw memory /sys/fs/cgroup/cgroup.controllers`,
			"swap is in memory":                              `grep -q ^/dev/zram0 /proc/swaps && test "$(wc -l </proc/swaps)" = 2`,
			"the journal is in memory":                       `test -d /run/log/journal && ! test -e /var/log/journal`,
			"logs are in memory":                             `test "$(findmnt -nro FSTYPE /var/log)" = tmpfs`,
			"the card is treated kindly":                     `findmnt -nro OPTIONS / | grep -q noatime.*commit=600`,
			"the watchdog is to be fed":                      `test "$(systemctl show --property RuntimeWatchdogUSec --value)" = 14s`,
			"packets are forwarded, and connections tracked": `test "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 && test "$(cat /proc/sys/net/netfilter/nf_conntrack_max)" -ge 16384`,
			"all units are well":                             `test -z "$(systemctl --failed --plain --no-legend | tee /dev/stderr)"`,
		} {
			if _, err := g.run(script); err != nil {
				t.Errorf("not so: %s: %v", what, err)
			}
		}
		for _, file := range []string{"/etc/machine-id", "/etc/ssh/ssh_host_ed25519_key.pub"} {
			text := g.must("cat " + file)
			if len(text) < 32 || own[text] != "" {
				t.Errorf("%s of %s: %q, as that of %q", file, g.name, text, own[text])
			}
			own[text] = g.name
		}
		t.Logf("%s: %s", g.name, g.must("uname -r; free -m; df -h / /boot/firmware; systemd-analyze; systemd-analyze blame | head -12"))
	}
}

// memory adds up the pages of agent and containerd, shared ones in proportion. The agent lets go of what it needed for
// something every two minutes, of a Pi whose minutes may be long ones here.
func memory(t *testing.T, g *guest) {
	t.Helper()
	within(t, 15*time.Minute, "agent and containerd are small", func() error { return small(t, g) })
}

func small(t *testing.T, g *guest) error {
	t.Helper()
	pss := func(unit string) int64 {
		out := g.must("sudo awk '/^Pss:/ { print $2 }' /proc/$(systemctl show --property MainPID --value " + unit + ")/smaps_rollup")
		kib, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return kib << 10
	}
	agent, containerd := pss("piswarm"), pss("containerd")
	if agent > mostAgent || agent+containerd > mostMemory {
		return fmt.Errorf("agent %d bytes, want %d; with containerd %d, want %d", agent, mostAgent, agent+containerd, mostMemory)
	}
	t.Logf("agent %.1f MB, containerd %.1f MB", float64(agent)/1e6, float64(containerd)/1e6)
	return nil
}

// written is what has gone to the card: by the agent and containerd, and by all.
type written struct{ ours, all int64 }

func writes(g *guest) (w written) {
	g.t.Helper()
	out := g.must(`sudo sh -c 'for unit in piswarm containerd; do awk "/^write_bytes/ { print \$2 }" /proc/$(systemctl show --property MainPID --value $unit)/io; done; awk "{ print \$7 * 512 }" /sys/block/mmcblk0/stat'`)
	var agent, containerd int64
	if _, err := fmt.Sscan(out, &agent, &containerd, &w.all); err != nil {
		g.t.Fatalf("%v: %q", err, out)
	}
	w.ours = agent + containerd
	return w
}

// idleWrites lets the cluster be, and counts what goes to the card meanwhile.
func idleWrites(t *testing.T, g *guest) {
	g.must("sync")
	before := writes(g)
	select {
	case <-time.After(*idle):
	case <-t.Context().Done():
	}
	g.must("sync") // what waits to be written counts
	after := writes(g)
	t.Logf("in %s: %d bytes by agent and containerd, %d by the whole system", *idle, after.ours-before.ours, after.all-before.all)
	if after.ours != before.ours {
		t.Errorf("agent and containerd wrote %d bytes to the card", after.ours-before.ours)
	}
}

// service runs the greeter, and takes a Pi away.
func service(t *testing.T, l *lan, one, two *guest) {
	greeter, err := os.ReadFile("../../build/greeter.tar")
	if err != nil {
		t.Fatalf("%v: make greeter builds it", err)
	}
	if _, err := one.feed(greeter, "piswarm image load"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	one.must("piswarm create --name greeters --publish 9000:5000 greeter")
	t.Logf("created after %.0f s", time.Since(began).Seconds())
	asked := func(g *guest) func() error {
		return func() error {
			said, err := l.get("http://" + address(g.n) + ":9000/")
			if err == nil && !strings.Contains(said, "Hello") {
				err = fmt.Errorf("it says %q", said)
			}
			return err
		}
	}
	within(t, 5*time.Minute, "pi 1 answers the published port", asked(one))
	within(t, 5*time.Minute, "pi 2 answers the published port", asked(two))
	one.must("piswarm scale greeters 2")
	within(t, 10*time.Minute, "one task on each", func() error { return tasksOn(one, map[string]int{one.name: 1, two.name: 1}) })
	if out, err := two.run("sudo sh -c 'ls /run/containerd/runc/piswarm/*/status'"); err != nil {
		t.Errorf("crun did not start the container, which the image has for it: %v %s", err, out)
	}
	memory(t, one)

	two.powerOff()
	cut := time.Now()
	within(t, 5*time.Minute, "the task of the dead Pi is elsewhere", func() error { return tasksOn(one, map[string]int{one.name: 2}) })
	t.Logf("%.0f s after the power cut", time.Since(cut).Seconds())
	for range 4 {
		if err := asked(one)(); err != nil {
			t.Error(err)
		}
	}
}

// tasksOn tells whether as many tasks of the greeters run on each node, and none elsewhere.
func tasksOn(g *guest, want map[string]int) error {
	out, err := g.run("piswarm ps greeters --format json")
	if err != nil {
		return err
	}
	var tasks []client.Task
	if err := json.Unmarshal([]byte(out), &tasks); err != nil {
		return err
	}
	got := map[string]int{}
	for _, task := range tasks {
		if task.State == cluster.Running && task.Desired == cluster.Running {
			got[task.Node]++
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		return errors.New(out)
	}
	return nil
}
