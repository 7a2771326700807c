package network

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestTune(t *testing.T) {
	n := newNode(t)
	lanLink(t)
	apply(t, n)
	if out, err := exec.Command("iptables-nft", "-A", "FORWARD", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for range 2 {
		if err := n.Tune(context.Background(), "lan0"); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{
			"ipv4/ip_forward":                                "1",
			"ipv4/conf/lan0/route_localnet":                  "1",
			"ipv4/conf/piswarm0/route_localnet":              "1",
			"ipv4/conf/all/send_redirects":                   "0",
			"ipv4/conf/lan0/send_redirects":                  "0",
			"ipv4/conf/lan0/accept_redirects":                "0",
			"netfilter/nf_conntrack_tcp_timeout_time_wait":   "30",
			"netfilter/nf_conntrack_tcp_timeout_established": "86400",
		} {
			got, err := os.ReadFile("/proc/sys/net/" + name)
			if err != nil || strings.TrimSpace(string(got)) != want {
				t.Errorf("%s is %q, %v, want %s", name, got, err, want)
			}
		}
	}
}

func TestSysctlWritesOnlyWhatIsWorse(t *testing.T) {
	root := t.TempDir() + "/"
	for _, test := range []struct {
		have string
		s    sysctl
		want string
	}{
		{"5\n", sysctl{name: "x", value: 7}, "7"},
		{"7\n", sysctl{name: "x", value: 7}, "7\n"},
		{"5\n", sysctl{name: "x", value: 7, only: raise}, "7"},
		{"9\n", sysctl{name: "x", value: 7, only: raise}, "9\n"},
		{"9\n", sysctl{name: "x", value: 7, only: lower}, "7"},
		{"5\n", sysctl{name: "x", value: 7, only: lower}, "5\n"},
	} {
		if err := os.WriteFile(root+"x", []byte(test.have), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := test.s.apply(root); err != nil {
			t.Error(err)
		}
		if got, _ := os.ReadFile(root + "x"); string(got) != test.want {
			t.Errorf("%+v over %q: got %q, want %q", test.s, test.have, got, test.want)
		}
	}
	if err := (sysctl{name: "missing", optional: true}).apply(root); err != nil {
		t.Errorf("optional: %v", err)
	}
	if err := (sysctl{name: "missing"}).apply(root); err == nil {
		t.Error("no error for a setting that is missing")
	}
}

// The sums of the comment, for the nodes there are.
func TestConntrackForTheNodesThereAre(t *testing.T) {
	for megabytes, want := range map[uint64]uint64{430: 55040, 512: 65536, 64: 32768, 1024: 131072, 8192: 524288, 0: 32768} {
		if got := conntrack(megabytes << 20)[0]; got.value != want || got.only != raise {
			t.Errorf("%d MB: %+v, want %d", megabytes, got, want)
		}
	}
}

// The limits follow from the node's memory, so that has to be the right one.
func TestMemory(t *testing.T) {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	var kilobytes uint64
	if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kilobytes); err != nil {
		t.Fatal(err)
	}
	if got := memory() >> 10; got < kilobytes-kilobytes/100 || got > kilobytes+kilobytes/100 {
		t.Errorf("%d kB of memory, want %d", got, kilobytes)
	}
}
