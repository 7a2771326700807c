package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAttach(t *testing.T) {
	n := newNode(t)
	lanLink(t)
	ctx := context.Background()
	if _, err := n.Attach(ctx, "a", addr("10.77.1.2")); err == nil {
		t.Error("no error without a bridge")
	}
	apply(t, n)
	path, err := n.Attach(ctx, "a", addr("10.77.1.2"))
	if err != nil {
		t.Fatal(err)
	}
	inside := func(line string) string {
		t.Helper()
		out, err := exec.Command("nsenter", append([]string{"--net=" + path, "ip"}, strings.Fields(line)...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	check := func() {
		t.Helper()
		for line, want := range map[string]string{
			"-o link show dev eth0":    "02:50:0a:4d:01:02",
			"-o -4 addr show dev eth0": "10.77.1.2/32",
			"-4 route":                 "default via 10.77.1.1 dev eth0 onlink",
			"-o link show dev lo":      "LOOPBACK,UP",
		} {
			if got := inside(line); !strings.Contains(got, want) {
				t.Errorf("want %q in %s", want, got)
			}
		}
	}
	check()
	again, err := n.Attach(ctx, "a", addr("10.77.1.2"))
	if err != nil || again != path {
		t.Errorf("the same again: %q, %v", again, err)
	}
	check()

	// An agent that restarts knows it.
	other, err := New(n.config)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	want := []Attachment{{"a", addr("10.77.1.2"), path}}
	if got, err := other.Attachments(); err != nil || !slices.Equal(got, want) {
		t.Errorf("attachments: %v, %v, want %v", got, err, want)
	}

	for _, bad := range []struct{ id, addr, why string }{
		{"b", "10.77.1.2", "belongs to a"},
		{"b", "10.77.1.1", "is not one for a container"},
		{"b", "10.77.2.2", "is not one for a container"},
		{"b", "fe80::1", "not an IPv4 address"},
		{"../b", "10.77.1.3", "cannot be the name"},
		{"", "10.77.1.3", "cannot be the name"},
	} {
		if _, err := n.Attach(ctx, bad.id, addr(bad.addr)); err == nil || !strings.Contains(err.Error(), bad.why) {
			t.Errorf("attach %q at %s: %v", bad.id, bad.addr, err)
		}
	}
	if got, err := n.Attachments(); err != nil || !slices.Equal(got, want) {
		t.Errorf("attachments after refusals: %v, %v, want %v", got, err, want)
	}

	// It can move.
	if _, err := n.Attach(ctx, "a", addr("10.77.1.7")); err != nil {
		t.Fatal(err)
	}
	if got := inside("-o -4 addr show dev eth0"); !strings.Contains(got, "10.77.1.7/32") || strings.Contains(got, "10.77.1.2") {
		t.Errorf("addresses after the move: %s", got)
	}
	for range 2 {
		if err := n.Detach(ctx, "a"); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := n.Attachments(); err != nil || len(got) != 0 {
		t.Errorf("attachments after all: %v, %v", got, err)
	}
	if got := ip(t, "-o link"); strings.Contains(got, vethPrefix+"0a") {
		t.Errorf("left over: %s", got)
	}
}

// A power cut or a kill can leave either half.
func TestAttachOverLeftovers(t *testing.T) {
	ctx := context.Background()
	a := addr("10.77.1.2")
	for name, harm := range map[string]func(t *testing.T, n *Network, path string){
		"a file without a mount": func(t *testing.T, n *Network, path string) {
			if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
		},
		"a namespace without an interface": func(t *testing.T, n *Network, path string) { ip(t, "link del "+vethName(a)) },
		"an interface without a namespace": func(t *testing.T, n *Network, path string) {
			if err := removeNamespace(path); err != nil {
				t.Fatal(err)
			}
			// The kernel takes the interface away with the namespace, in its own time.
			eventually(t, func() error {
				_, err := exec.Command("ip", "link", "add", vethName(a), "type", "veth", "peer", "name", "stray").Output()
				return err
			})
			ip(t, "link set "+vethName(a)+" alias a")
		},
		"an interface of a container that is no more": func(t *testing.T, n *Network, path string) {
			if err := n.Detach(ctx, "a"); err != nil {
				t.Fatal(err)
			}
			ip(t, "link add "+vethName(a)+" type veth peer name stray")
			ip(t, "link set "+vethName(a)+" alias old")
		},
		"an interface that is down and out of the bridge": func(t *testing.T, n *Network, path string) {
			ip(t, "link set "+vethName(a)+" down nomaster")
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			lanLink(t)
			apply(t, n)
			path, err := n.Attach(ctx, "a", a)
			if err != nil {
				t.Fatal(err)
			}
			harm(t, n, path)
			if path, err = n.Attach(ctx, "a", a); err != nil {
				t.Fatal(err)
			}
			got, err := n.Attachments()
			if want := []Attachment{{"a", a, path}}; err != nil || !slices.Equal(got, want) {
				t.Errorf("attachments: %v, %v, want %v", got, err, want)
			}
			if got := ip(t, "-o link show dev "+vethName(a)); !strings.Contains(got, "master piswarm0") || !strings.Contains(got, ",UP") {
				t.Errorf("interface: %s", got)
			}
			namespace, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer namespace.Close()
			err = inNamespace(namespace, func() error {
				_, err := net.DialTimeout("tcp", "10.77.1.1:1", 5*time.Second)
				return err
			})
			if !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("the container to its gateway: %v, want connection refused", err)
			}
		})
	}
}

func TestAttachmentsTellsLeftovers(t *testing.T) {
	n := newNode(t)
	lanLink(t)
	apply(t, n)
	ctx := context.Background()
	path, err := n.Attach(ctx, "a", addr("10.77.1.2"))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if got, err := n.Attachments(); err != nil || len(got) != 1 || got[0].ID != "a" || got[0].Addr.IsValid() {
		t.Errorf("attachments: %v, %v", got, err)
	}
	if err := n.Detach(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if got, err := n.Attachments(); err != nil || len(got) != 0 {
		t.Errorf("attachments after: %v, %v", got, err)
	}
}

// Many at once, and no thread is left behind, least of all in a wrong namespace.
func TestAttachAtOnce(t *testing.T) {
	n := newNode(t)
	lanLink(t)
	apply(t, n)
	ctx := context.Background()
	const containers = 20
	all := func(f func(id string, a netip.Addr) error) {
		t.Helper()
		var wg sync.WaitGroup
		for i := range containers {
			wg.Go(func() {
				if err := f(fmt.Sprintf("c%d", i), addr(fmt.Sprintf("10.77.1.%d", 10+i))); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	all(func(id string, a netip.Addr) error { _, err := n.Attach(ctx, id, a); return err })
	got, err := n.Attachments()
	if err != nil || len(got) != containers {
		t.Errorf("%d attachments, %v", len(got), err)
	}
	namespaces := map[string]bool{}
	for _, a := range got {
		var s unix.Stat_t
		if err := unix.Stat(a.Namespace, &s); err != nil {
			t.Fatal(err)
		}
		namespaces[fmt.Sprintf("net:[%d]", s.Ino)] = true
	}
	if len(namespaces) != containers {
		t.Fatalf("%d containers have %d namespaces", containers, len(namespaces))
	}
	for range 3 {
		all(func(id string, a netip.Addr) error { _, err := n.Attach(ctx, id, a); return err })
	}
	all(func(id string, a netip.Addr) error { return n.Detach(ctx, id) })
	if got, err := n.Attachments(); err != nil || len(got) != 0 {
		t.Errorf("left over: %v, %v", got, err)
	}
	// The threads end in their own time.
	eventually(t, func() error {
		if n := threadsIn(t, namespaces); n > 0 {
			return fmt.Errorf("%d threads are in the namespaces of containers", n)
		}
		return nil
	})
}

// threadsIn counts the threads of the process that are in one of the namespaces.
func threadsIn(t *testing.T, namespaces map[string]bool) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, task := range tasks {
		// One that has ended meanwhile is in none.
		if ns, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/net"); err == nil && namespaces[ns] {
			count++
		}
	}
	return count
}

func eventually(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
}
