package agent

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

func TestHearing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var condition cluster.Condition
		var greeted []string
		var late atomic.Int32
		h := newHearing(func() []cluster.Member {
			return []cluster.Member{{ID: "a", Condition: cluster.Ready}, {ID: "b", Condition: condition}}
		},
			func(id string) { greeted = append(greeted, id) }, func() { late.Add(1) })
		step := func(c cluster.Condition, want string) {
			t.Helper()
			condition = c
			got := ""
			for _, m := range h.Members() {
				got += fmt.Sprintf("%s %s %v, ", m.ID, m.Condition, m.Unheard)
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		step(cluster.Ready, "a ready false, b ready false, ") // nothing is known of before
		step(cluster.Down, "a ready false, b down false, ")
		step(cluster.Ready, "a ready false, b ready true, ")
		step(cluster.Ready, "a ready false, b ready true, ")
		if !slices.Equal(greeted, []string{"b"}) {
			t.Errorf("asked %q for their state, want b once", greeted)
		}
		if h.Heard("a") || !h.Heard("b") || h.Heard("b") {
			t.Error("b was not waited for, or another one was")
		}
		step(cluster.Ready, "a ready false, b ready false, ")

		// Gone again before it was heard, it is waited for anew, and not for ever.
		step(cluster.Left, "a ready false, b left false, ")
		step(cluster.Ready, "a ready false, b ready true, ")
		step(cluster.Down, "a ready false, b down false, ")
		if h.Heard("b") {
			t.Error("a member that is down was waited for")
		}
		step(cluster.Ready, "a ready false, b ready true, ")
		time.Sleep(hearLimit - 1)
		step(cluster.Ready, "a ready false, b ready true, ")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if late.Load() == 0 {
			t.Error("nobody is told that the time is over")
		}
		step(cluster.Ready, "a ready false, b ready false, ")
	})
}
