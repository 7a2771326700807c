package network

import (
	"context"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
)

// moment is how long addresses must have been left alone before a change counts: a DHCP client takes the old one
// away before it sets the new one.
const moment = 500 * time.Millisecond

// WatchAddresses calls changed a moment after each change of the machine's addresses until ctx ends, and whenever
// one may have been missed: before it began to watch, or because the kernel had more to tell than fitted.
func (n *Network) WatchAddresses(ctx context.Context, changed func()) error {
	for ctx.Err() == nil {
		if err := n.watchAddresses(ctx, changed); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(moment): // one that breaks again and again must not keep the processor busy
		}
	}
	return nil
}

// watchAddresses does so until the subscription breaks.
func (n *Network) watchAddresses(ctx context.Context, changed func()) error {
	updates := make(chan netlink.AddrUpdate, 16)
	done := make(chan struct{})
	err := n.inside(func() error { return netlink.AddrSubscribe(updates, done) })
	if err != nil {
		close(done)
		return fmt.Errorf("watch the machine's addresses: %w", err)
	}
	defer func() {
		close(done)
		for range updates { // lets the one who writes see that nobody listens any more
		}
	}()
	settled := time.NewTimer(moment)
	defer settled.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case _, ok := <-updates:
			if !ok {
				return nil
			}
			settled.Reset(moment)
		case <-settled.C:
			changed()
		}
	}
}
