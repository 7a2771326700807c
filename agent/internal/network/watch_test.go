package network

import (
	"context"
	"testing"
	"time"
)

func TestWatchAddresses(t *testing.T) {
	n := newNode(t)
	ip(t, "link add lan type bridge")
	ip(t, "link set lan up")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	changed := make(chan struct{}, 16)
	ended := make(chan error, 1)
	go func() { ended <- n.WatchAddresses(ctx, func() { changed <- struct{}{} }) }()
	await := func(what string) {
		t.Helper()
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s was not noticed", what)
		}
	}
	await("what may have been before the watch")
	ip(t, "addr add 192.168.1.20/24 dev lan")
	await("a new address")
	ip(t, "addr del 192.168.1.20/24 dev lan")
	await("a lost address")
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it does not end")
	}
}
