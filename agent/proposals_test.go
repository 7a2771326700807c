package agent

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestProposals: a forger of thousands of addresses neither has all of them tried nor keeps a true one from being tried.
func TestProposals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tried, most, now := map[netip.Addr]int{}, 0, 0
		step := make(chan func(), 1)
		p := newProposals(4, func() netip.Prefix { return netip.MustParsePrefix("10.77.0.0/16") }, func(_ context.Context, a netip.Addr) {
			step <- func() {
				tried[a]++
				now++
				most = max(most, now)
			}
			time.Sleep(time.Second)
			step <- func() { now-- }
		})
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			for {
				select {
				case <-ctx.Done():
					return
				case f := <-step:
					f()
				}
			}
		}()
		for _, text := range []string{"0.0.0.0", "127.0.0.1", "224.0.0.251", "255.255.255.255", "::", "10.77.3.2"} {
			p.add(ctx, netip.MustParseAddr(text))
		}
		synctest.Wait()
		if len(tried) > 0 {
			t.Fatalf("tried %v", tried)
		}
		honest, forged := netip.MustParseAddr("192.168.1.20"), netip.MustParseAddr("192.168.2.1")
		for range 6 { // looks, of which each finds what discovery lets through at most
			for range 256 {
				p.add(ctx, forged)
				forged = forged.Next()
			}
			p.add(ctx, honest)
			time.Sleep(time.Minute + 20*time.Second)
			p.add(ctx, honest)
			p.add(ctx, honest)
			time.Sleep(time.Second)
		}
		p.work.Wait()
		synctest.Wait()
		if most != 4 || len(p.last) > maxProposals || len(p.waiting) > 0 || p.running > 0 {
			t.Errorf("%d tried, %d at a time, %d remembered", len(tried), most, len(p.last))
		}
		if n := tried[honest]; n != 7 { // once more a look, but not after a second
			t.Errorf("the true one is tried %d times", n)
		}
		stop()
	})
}
