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
	// The subscription is there at some moment soon: an address that comes before it is no change.
	deadline := time.After(10 * time.Second)
	for seen, i := false, 2; !seen; i++ {
		ip(t, "addr add 192.168.1."+string(rune('0'+i%8+1))+"/24 dev lan")
		select {
		case <-changed:
			seen = true
		case <-time.After(2 * moment):
		case <-deadline:
			t.Fatal("no change of an address was noticed")
		}
	}
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
