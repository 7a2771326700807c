package cli

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// TestConvergence reads each story as text: a line is a second, or what comes before the colon, and the states of the
// tasks then. A task is SLOT=STATE, with an @ and a number for the placement if it is not the first, and with + and a
// number for each restart; "leaving" stands for a task that ends, "overdue" for one that runs
// though it shall not. The verdict is that after the last line.
func TestConvergence(t *testing.T) {
	for _, test := range []struct {
		name   string
		want   int
		global bool
		story  string
		expect string
	}{
		{"runs and stays up", 2, false, `0: 1=pending 2=pending | 1: 1=preparing 2=starting | 2: 1=running 2=running | 3: 1=running 2=running`, "converged"},
		{"settles first", 1, false, `0: 1=starting | 1: 1=running | 1.9: 1=running`, "settling"},
		{"a restart while settling begins anew", 1, false, `0: 1=running | 0.9: 1=running+1 | 1.8: 1=running+1`, "settling"},
		{"another task while settling begins anew", 1, false, `0: 1=running | 0.9: 1=running@2 | 1.8: 1=running@2`, "settling"},
		{"none are wanted", 0, false, `0: | 1:`, "converged"},
		{"surplus tasks are waited for", 1, false, `0: 1=running 2=running | 5: 1=running 2=running`, "undecided"},
		{"surplus tasks that end do not count", 1, false, `0: 1=running 2=running | 1: 1=running leaving | 2: 1=running leaving`, "converged"},
		{"fits nowhere", 2, false, `0: 1=running 2=pending | 9: 1=running 2=pending | 10: 1=running 2=pending`, "given up: 1/2 running; s.2 pending: reason 2"},
		{"nine seconds are no reason to give up", 1, false, `0: 1=pending | 9: 1=pending`, "undecided"},
		{"patient while another is under way", 2, false, `0: 1=preparing 2=pending | 60: 1=preparing 2=pending | 69: 1=pending 2=pending`, "undecided"},
		{"patient while another still runs that shall not", 1, false, `0: 1=pending 2=overdue | 60: 1=pending 2=overdue | 69: 1=pending`, "undecided"},
		{"patient while another ends", 1, false, `0: 1=pending leaving | 60: 1=pending leaving | 69: 1=pending`, "undecided"},
		{"a pull may take minutes", 1, false, `0: 1=preparing | 599: 1=preparing`, "undecided"},
		{"a pull may not take for ever", 1, false, `0: 1=preparing | 600: 1=preparing`, "given up: 0/1 running; s.1 preparing: reason 1"},
		{"fails three times", 1, false, `0: 1=failed | 1: 1=starting | 2: 1=failed+1 | 3: 1=running | 3.5: 1=failed+2`, "given up: 0/1 running; s.1 failed (ended 3 times): reason 1"},
		{"fails twice", 1, false, `0: 1=failed | 1: 1=starting | 2: 1=failed+1 | 3: 1=running | 4: 1=running`, "converged"},
		{"one failure seen often is one", 1, false, `0: 1=failed | 1: 1=failed | 2: 1=failed | 3: 1=failed`, "undecided"},
		{"is rejected everywhere", 1, false, `0: 1=rejected | 1: 1=rejected@2 | 2: 1=rejected@3`, "given up: 0/1 running; s.1 rejected (ended 3 times): reason 1"},
		{"ends by itself", 1, false, `0: 1=complete | 1: 1=running | 2: 1=complete+1 | 3: 1=running | 4: 1=complete+2`, "given up: 0/1 running; s.1 complete (ended 3 times): reason 1"},
		{"restarts unseen", 1, false, `0: 1=running | 0.9: 1=running+1 | 1.8: 1=running+2 | 2.7: 1=running+3 | 2.8: 1=starting`, "given up: 0/1 running; s.1 starting (ended 3 times): reason 1"},
		{"is placed by nobody", 2, false, `0: | 10:`, "given up: 0/2 running; 2 tasks not placed: see the leader in piswarm status"},
		{"surplus tasks stay", 1, false, `0: 1=running 2=running | 10: 1=running 2=running`, "given up: 2/1 running; 1 task too many"},
		{"one reason for many", 5, false, `0: 1=orphaned 2=orphaned 3=orphaned 4=orphaned 5=orphaned | 10: 1=orphaned 2=orphaned 3=orphaned 4=orphaned 5=orphaned`, "given up: 0/5 running; s.1, s.2, s.3 and 2 more orphaned"},
		{"global runs", 2, true, `0: | 1: 0=running 0=running@2 | 2: 0=running 0=running@2`, "converged"},
		{"global where one node does not fit yet", 1, true, `0: 0=running | 1: 0=running 0=starting@2 | 2: 0=running 0=starting@2`, "undecided"},
		{"global that fits nowhere", 0, true, `0: 0=pending@none | 10: 0=pending@none`, "given up: 0/1 running; s pending: reason 0"},
		{"global without a node", 0, true, `0: | 9.9:`, "undecided"},
		{"global without a node for long", 0, true, `0: | 10:`, "given up: 0/0 running; no node may run it: see its constraints and piswarm node ls"},
	} {
		t.Run(test.name, func(t *testing.T) {
			start := testNow
			c := newConvergence(defaultPace, start)
			got := ""
			for _, line := range strings.Split(test.story, "|") {
				seconds, tasks, _ := strings.Cut(line, ":")
				at, err := strconv.ParseFloat(strings.TrimSpace(seconds), 64)
				if err != nil {
					t.Fatal(err)
				}
				v := storyView(t, test.want, test.global, tasks)
				found, reason := c.observe(start.Add(time.Duration(at*1e9)), v)
				got = map[verdict]string{undecided: "undecided", settling: "settling", converged: "converged", givenUp: "given up: " + reason}[found]
			}
			if got != test.expect {
				t.Errorf("got %s\nwant %s", got, test.expect)
			}
		})
	}
}

func storyView(t *testing.T, want int, global bool, line string) view {
	t.Helper()
	s := client.Service{}
	s.Spec.Name, s.Spec.Replicas, s.Spec.Mode = "s", want, cluster.Replicated
	if global {
		s.Spec.Mode, s.Spec.Replicas, s.Status.Replicas.Desired = cluster.Global, 0, want
	}
	var tasks []client.Task
	for _, word := range strings.Fields(line) {
		if word == "leaving" {
			tasks = append(tasks, client.Task{ID: "old", Service: "s", Slot: 99, Desired: cluster.Stopping, State: cluster.Stopping})
			continue
		}
		slot, rest, _ := strings.Cut(word, "=")
		rest, restarts, _ := strings.Cut(rest, "+")
		state, placement, _ := strings.Cut(rest, "@")
		n, err := strconv.Atoi(slot)
		if err != nil {
			t.Fatal(err)
		}
		if state == "overdue" {
			tasks = append(tasks, client.Task{ID: "old", Service: "s", Slot: n, Desired: cluster.Stopping, State: cluster.Running})
			continue
		}
		task := client.Task{ID: slot + "-" + placement, Service: "s", Slot: n, Desired: cluster.Running, State: cluster.State(state)}
		if global {
			if task.Node = "pi" + placement; placement == "none" {
				task.Node = ""
			}
		}
		if restarts != "" {
			k, err := strconv.Atoi(restarts)
			if err != nil {
				t.Fatal(err)
			}
			task.Since = testNow.Add(time.Duration(k) * time.Second)
		}
		if task.State != cluster.Running && task.State != cluster.Orphaned {
			task.Error = fmt.Sprintf("reason %d", n)
		}
		tasks = append(tasks, task)
	}
	return newView(s, tasks)
}

func TestManyReasonsStayOneLine(t *testing.T) {
	v := view{service: "s", mode: cluster.Replicated, want: 5}
	for i := 1; i <= 5; i++ {
		v.tasks = append(v.tasks, client.Task{Service: "s", Slot: i, State: cluster.Pending, Error: fmt.Sprintf("reason\n%d", i)})
	}
	c := newConvergence(defaultPace, testNow)
	want := "0/5 running; s.1 pending: reason 1; s.2 pending: reason 2; s.3 pending: reason 3; and more, see piswarm ps s"
	if got := c.reason(v); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}
