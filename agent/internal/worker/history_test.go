package worker

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// lives is the history of the report as text: one life a line.
func (r *rig) lives() string {
	r.t.Helper()
	var b strings.Builder
	for _, life := range r.report().History {
		fmt.Fprintln(&b, strings.TrimSpace(fmt.Sprint(life.ID, " ", life.State, " ", life.Error)))
	}
	return b.String()
}

func TestTellsOfPastLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := running(t)
		same(t, "history", r.lives(), "")
		r.runtime.Exit("web.1", 3)
		synctest.Wait()
		same(t, "of one that runs again", r.lives(), "web.1 failed ended with exit code 3\n")

		// One that has ended and is not run again yet says so itself.
		r.runtime.Exit("web.1", 4)
		synctest.Wait()
		same(t, "of one that waits", r.lives(), "web.1 failed ended with exit code 3\n")
		after(time.Second)
		same(t, "of one that waited", r.lives(), "web.1 failed ended with exit code 4\nweb.1 failed ended with exit code 3\n")

		at := time.Now()
		r.planBy(self, "web", "web.1") // scaled down
		after(releaseLimit + lastWord)
		same(t, "with one that was stopped", r.lives(), "web.2 complete\nweb.1 failed ended with exit code 4\nweb.1 failed ended with exit code 3\n")
		if life := r.report().History[0]; life.Slot != 2 || life.Service != "web" || life.Since.Before(at) {
			t.Errorf("the life of the one that was stopped: %+v", life)
		}

		if _, _, err := r.store.Delete(cluster.ServiceKey("web")); err != nil {
			t.Fatal(err)
		}
		after(releaseLimit + lastWord)
		same(t, "of a service that was removed", r.lives(), "")
	})
}

func TestHistoryIsShort(t *testing.T) {
	var history []cluster.TaskStatus
	for i := range 100 {
		for slot := range 10 {
			history = remember(history, cluster.TaskStatus{ServiceID: "a", Slot: slot, ExitCode: i})
		}
		history = remember(history, cluster.TaskStatus{ServiceID: "b", Slot: 1, ExitCode: i})
		if i == 0 && len(history) != 11 {
			t.Errorf("%d lives of 11", len(history))
		}
	}
	if len(history) != maxLives {
		t.Errorf("%d lives", len(history))
	}
	of := map[string]int{}
	for _, life := range history {
		key := fmt.Sprint(life.ServiceID, life.Slot)
		if life.ExitCode != 99-of[key] {
			t.Errorf("life %d of %s is of round %d", of[key], key, life.ExitCode)
		}
		of[key]++
	}
	for i := range 10 {
		history = remember(history, cluster.TaskStatus{ServiceID: "c", ExitCode: i})
	}
	n := 0
	for _, life := range history {
		if life.ServiceID == "c" {
			n++
		}
	}
	if n != maxSlotLives {
		t.Errorf("%d lives of one slot", n)
	}
}
