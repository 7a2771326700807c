//go:build !race

package gossip

import (
	"bytes"
	"testing"
	"time"

	"github.com/hashicorp/serf/serf"
)

func gossipKey(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }

// The key changes step by step while members gossip: nobody is ever seen down, and messages go on arriving.
func TestKeyChangesUnderWay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var n network
		all := []*Gossip{virtual(t, &n, "a", at(1), Config{}), virtual(t, &n, "b", at(2), Config{}), virtual(t, &n, "c", at(3), Config{})}
		join(t, all[1], at(1))
		join(t, all[2], at(1))
		const everybody = "a=ready b=ready c=ready "
		together := func() bool {
			return conditions(all[0]) == everybody && conditions(all[1]) == everybody && conditions(all[2]) == everybody
		}
		within(t, 2*time.Second, "three members", together)
		hear := func(when string) {
			t.Helper()
			for range 100 { // 10 s: a member that is not understood is down by then
				time.Sleep(100 * time.Millisecond)
				if !together() {
					t.Fatalf("%s: %s| %s| %s", when, conditions(all[0]), conditions(all[1]), conditions(all[2]))
				}
			}
			if err := all[0].Broadcast([]byte(when)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			for _, g := range all {
				for len(g.Messages()) > 1 {
					<-g.Messages()
				}
				if got := <-g.Messages(); string(got) != when {
					t.Errorf("%s: heard %q", when, got)
				}
			}
		}
		former, next := gossipKey(1), gossipKey(2)
		for _, step := range []struct {
			name       string
			key, other []byte
		}{{"install", former, next}, {"use", next, former}, {"finish", next, nil}} {
			for _, g := range all { // one after the other, with a while between
				if err := g.SetKeys(step.key, step.other); err != nil {
					t.Fatal(err)
				}
				hear(step.name)
			}
		}
		late := virtual(t, &n, "d", at(4), Config{}) // with the former key
		if n, _ := late.Join(addresses(at(1))); n != 0 {
			t.Error("the former key still lets one in")
		}
		if got := all[0].keys.GetKeys(); len(got) != 1 || !bytes.Equal(got[0], next) {
			t.Errorf("%d keys are left", len(got))
		}
		// From anything to anything, never without a key and never with a third.
		for _, step := range [][2][]byte{{next, gossipKey(3)}, {next, gossipKey(4)}, {gossipKey(4), next}, {gossipKey(4), nil}, {gossipKey(4), nil}} {
			if err := late.SetKeys(step[0], step[1]); err != nil {
				t.Fatal(err)
			}
			want := 1
			if step[1] != nil {
				want = 2
			}
			if got := late.keys.GetKeys(); len(got) != want || !bytes.Equal(got[0], step[0]) {
				t.Errorf("after %x %x: %x", step[0], step[1], got)
			}
		}
	})
}

// Nobody learns a key by asking serf, and nobody installs one.
func TestSerfIsNotAskedForKeys(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var n network
		a, b := virtual(t, &n, "a", at(1), Config{}), virtual(t, &n, "b", at(2), Config{Other: gossipKey(2)})
		join(t, a, at(2))
		within(t, time.Second, "two members", func() bool { return conditions(b) == "a=ready b=ready " })
		manager := a.serf.KeyManager()
		if r, err := manager.ListKeys(); r != nil && len(r.Keys) > 0 {
			t.Errorf("keys were told: %v, %v", r.Keys, err)
		}
		if r, _ := manager.InstallKey("AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM="); r != nil && r.NumResp > 0 {
			t.Errorf("a key was installed: %+v", r)
		}
		if got := b.keys.GetKeys(); len(got) != 2 {
			t.Errorf("b has %d keys", len(got))
		}
		// A member of serf's own asks; here the question is not even put to serf.
		if query([]byte{firstQuery - 1}) || query(nil) || query([]byte{questionKind}) || !query([]byte{firstQuery}) || !query([]byte{lastQuery}) {
			t.Error("the wrong messages are taken for queries")
		}
		if _, err := a.serf.Query("anything", []byte("x"), &serf.QueryParam{Timeout: time.Second}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
	})
}
