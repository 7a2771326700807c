package network

import (
	"context"
	"net"
	"os"
	"testing"

	"github.com/piswarm/piswarm/pkg/cluster"
)

func TestListening(t *testing.T) {
	n := newNode(t)
	lanLink(t)
	apply(t, n)
	path, err := n.Attach(context.Background(), "web.1", addr("10.77.1.2"))
	if err != nil {
		t.Fatal(err)
	}
	namespace, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer namespace.Close()
	inside := func(f func() error) {
		t.Helper()
		if err := inNamespace(namespace, f); err != nil {
			t.Fatal(err)
		}
	}
	tcp, udp := cluster.Port{Target: 5000, Protocol: cluster.TCP}, cluster.Port{Target: 5000, Protocol: cluster.UDP}
	expect := func(want bool, what string, ports ...cluster.Port) {
		t.Helper()
		if got, err := n.Listening(context.Background(), "web.1", ports); got != want || err != nil {
			t.Errorf("%s: %v, %v", what, got, err)
		}
	}
	expect(true, "no port")
	expect(false, "nothing listens", tcp)
	inside(func() error {
		conn, err := net.ListenPacket("udp", ":5000")
		if err == nil {
			t.Cleanup(func() { conn.Close() })
		}
		return err
	})
	expect(true, "udp listens", udp)
	expect(false, "udp is not tcp", tcp)
	inside(func() error {
		l, err := net.Listen("tcp4", ":5000")
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	})
	expect(true, "both listen", tcp, udp)
	expect(false, "one of two ports", tcp, cluster.Port{Target: 5001, Protocol: cluster.TCP})
	if _, err := n.Listening(context.Background(), "web.2", []cluster.Port{tcp}); err == nil {
		t.Error("a container that is not there was looked at")
	}
}
