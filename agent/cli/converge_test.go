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
			mode := cluster.Replicated
			if test.global {
				mode = cluster.Global
			}
			if got := judge(t, test.want, mode, toRun, test.story); got != test.expect {
				t.Errorf("got %s\nwant %s", got, test.expect)
			}
		})
	}
}

// TestConvergenceOfUpdates reads stories as TestConvergence does. A task with a ~ is one of an earlier spec, and the
// state of the update stands among the tasks, with an ! if it has something to say though it goes on. A task of a job that is done=… or lost=… is over.
func TestConvergenceOfUpdates(t *testing.T) {
	for _, test := range []struct {
		name   string
		want   int
		mode   cluster.Mode
		goal   goal
		story  string
		expect string
	}{
		{"one after the other", 2, cluster.Replicated, toUpdate, `0: updating 1=running~ 2=running~ | 1: updating 1=starting 1=running~ 2=running~ | 2: updating 1=running 2=running~ | 9: updating 1=running 2=running | 14: completed 1=running 2=running | 15: completed 1=running 2=running`, "converged"},
		{"all run, but it is watched", 1, cluster.Replicated, toUpdate, `0: updating 1=running | 99: updating 1=running`, "undecided"},
		{"says completed too early", 2, cluster.Replicated, toUpdate, `0: completed 1=running 2=running~ | 1: completed 1=running 2=running~`, "undecided"},
		{"waits between two tasks", 2, cluster.Replicated, toUpdate, `0: updating 1=running 2=running~ | 300: updating 1=running 2=running~`, "undecided"},
		{"does not wait for ever", 2, cluster.Replicated, toUpdate, `0: updating 1=running 2=running~ | 660: updating 1=running 2=running~`, "given up: 1/2 running"},
		{"may wait for its next task", 2, cluster.Replicated, toUpdate, `0: updating 1=running 2=running~ | 659: updating 1=running 2=running~`, "undecided"},
		{"fits nowhere", 2, cluster.Replicated, toUpdate, `0: updating 1=pending 2=running~ | 10: updating 1=pending 2=running~`, "given up: 0/2 running; s.1 pending: reason 1"},
		{"stops the old one first", 1, cluster.Replicated, toUpdate, `0: updating 1=pending 1=overdue | 60: updating 1=pending 1=overdue`, "undecided"},
		{"fails often, which is for the leader to judge", 1, cluster.Replicated, toUpdate, `0: updating 1=failed | 1: updating 1=starting | 2: updating 1=failed+1 | 3: updating 1=starting | 4: updating 1=failed+2`, "undecided"},
		{"fails often, and the leader goes on", 1, cluster.Replicated, toUpdate, `0: updating 1=failed | 1: updating 1=starting | 2: updating 1=failed+1 | 3: updating 1=starting | 4: updating 1=failed+2 | 5: completed 1=failed+2`, "given up: 0/1 running; s.1 failed (ended 3 times): reason 1"},
		{"waits for room", 2, cluster.Replicated, toUpdate, `0: updating! 1=running 2=running~ | 70: updating! 1=running 2=running~`, "given up: 1/2 running; task s.1 failed"},
		{"may have something to say", 2, cluster.Replicated, toUpdate, `0: updating! 1=running 2=running~ | 69: updating! 1=running 2=running~`, "undecided"},
		{"is paused", 2, cluster.Replicated, toUpdate, `0: updating 1=running~ 2=running~ | 5: paused 1=failed 2=running~`, "given up: the update is paused: task s.1 failed"},
		{"goes back", 1, cluster.Replicated, toUpdate, `0: updating 1=failed | 5: rollback_started 1=starting | 99: rollback_started 1=running`, "undecided"},
		{"went back", 1, cluster.Replicated, toUpdate, `0: updating 1=failed | 5: rollback_completed 1=running`, "given up: the update failed and was rolled back: task s.1 failed"},
		{"cannot go back", 1, cluster.Replicated, toUpdate, `0: rollback_paused 1=failed`, "given up: the rollback is paused: task s.1 failed"},
		{"is taken back", 1, cluster.Replicated, toRollBack, `0: rollback_started 1=running~ | 1: rollback_started 1=running | 6: rollback_completed 1=running | 7: rollback_completed 1=running`, "converged"},
		{"cannot be taken back", 1, cluster.Replicated, toRollBack, `0: rollback_started 1=running~ | 1: rollback_paused 1=failed`, "given up: the rollback is paused: task s.1 failed"},
		{"global", 2, cluster.Global, toUpdate, `0: updating 0=running~ 0=running~@2 | 1: completed 0=running 0=running@2 | 2: completed 0=running 0=running@2`, "converged"},
		{"scaled while an update is paused", 2, cluster.Replicated, toRun, `0: paused 1=failed 1=running~ 2=running~ | 1: paused 1=failed 1=running~ 2=running~`, "converged"},
		{"moves to another node", 1, cluster.Replicated, toRun, `0: completed 1=running 1=running@2 | 1: completed 1=running 1=running@2`, "undecided"},

		{"a job is done", 2, cluster.ReplicatedJob, toRun, `0: 1=starting | 1: 1=running 2=running | 2: 1=done 2=done`, "converged"},
		{"a job may take long", 2, cluster.ReplicatedJob, toRun, `0: 1=done 2=running | 9999: 1=done 2=running`, "undecided"},
		{"a job comes bit by bit", 3, cluster.ReplicatedJob, toRun, `0: 1=done 2=running | 1: 1=done 2=done | 9: 1=done 2=done`, "undecided"},
		{"a job that fits nowhere", 3, cluster.ReplicatedJob, toRun, `0: 1=done 2=pending | 10: 1=done 2=pending`, "given up: 1/3 complete; s.2 pending: reason 2"},
		{"a job fails for good", 2, cluster.ReplicatedJob, toRun, `0: 1=running 2=running | 1: 1=running 2=lost`, "given up: 0/2 complete; s.2 failed: reason 2"},
		{"a job ends with 0 and is not over yet", 1, cluster.ReplicatedJob, toRun, `0: 1=running | 1: 1=complete`, "undecided"},
		{"a job is run again", 2, cluster.ReplicatedJob, toUpdate, `0: updating 1=done~ 2=lost~ | 1: updating 1=running 2=done | 2: updating 1=done 2=done`, "converged"},
		{"a job on every node", 2, cluster.GlobalJob, toRun, `0: 0=done 0=running@2 | 1: 0=done 0=done@2`, "converged"},
		{"a job without a node", 0, cluster.GlobalJob, toRun, `0: | 10:`, "given up: 0/0 complete; no node may run it: see its constraints and piswarm node ls"},
		{"a task that is restarted after a pause", 1, cluster.Replicated, toRun, `0: 1=failed | 14: 1=failed`, "undecided"},
		{"a task that is not restarted after its pause", 1, cluster.Replicated, toRun, `0: 1=failed | 15: 1=failed`, "given up: 0/1 running; s.1 failed: reason 1"},
		{"a task that is not restarted", 2, cluster.Replicated, toRun, `0: 1=running 2=running | 1: 1=running 2=lost`, "given up: 1/2 running; s.2 failed: reason 2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := judge(t, test.want, test.mode, test.goal, test.story); got != test.expect {
				t.Errorf("got %s\nwant %s", got, test.expect)
			}
		})
	}
}

// judge returns the verdict at the end of a story.
func judge(t *testing.T, want int, mode cluster.Mode, g goal, story string) string {
	t.Helper()
	c := newConvergence(defaultPace, testNow)
	got := ""
	for _, line := range strings.Split(story, "|") {
		seconds, tasks, _ := strings.Cut(line, ":")
		at, err := strconv.ParseFloat(strings.TrimSpace(seconds), 64)
		if err != nil {
			t.Fatal(err)
		}
		found, reason := c.observe(testNow.Add(time.Duration(at*1e9)), storyView(t, want, mode, g, tasks))
		got = map[verdict]string{undecided: "undecided", settling: "settling", converged: "converged", givenUp: "given up: " + reason}[found]
	}
	return got
}

func storyView(t *testing.T, want int, mode cluster.Mode, g goal, line string) view {
	t.Helper()
	s := client.Service{}
	s.Spec.Name, s.Spec.Replicas, s.Spec.Mode, s.SpecVersion = "s", want, mode, 2
	s.Spec.Update.Delay, s.Spec.Restart.Delay = time.Minute, 5*time.Second
	if mode.PerNode() {
		s.Spec.Replicas, s.Status.Replicas.Desired = 0, want
	}
	var tasks []client.Task
	for _, word := range strings.Fields(line) {
		if word != "leaving" && !strings.Contains(word, "=") {
			s.Status.Update = client.UpdateStatus{State: cluster.UpdateState(strings.TrimSuffix(word, "!")), Message: "task s.1 failed"}
			if word == "updating" {
				s.Status.Update.Message = ""
			}
			continue
		}
		if word == "leaving" {
			tasks = append(tasks, client.Task{ID: "old", Service: "s", Slot: 99, Desired: cluster.Stopping, State: cluster.Stopping})
			continue
		}
		slot, rest, _ := strings.Cut(word, "=")
		rest, restarts, _ := strings.Cut(rest, "+")
		state, placement, _ := strings.Cut(rest, "@")
		state, old := strings.CutSuffix(state, "~")
		n, err := strconv.Atoi(slot)
		if err != nil {
			t.Fatal(err)
		}
		if state == "overdue" {
			tasks = append(tasks, client.Task{ID: "old", Service: "s", Slot: n, Desired: cluster.Stopping, State: cluster.Running})
			continue
		}
		task := client.Task{ID: slot + "-" + placement, Service: "s", Slot: n, Desired: cluster.Running, State: cluster.State(state)}
		task.SpecVersion = s.SpecVersion
		if old {
			task.SpecVersion, task.ID = 1, "old-"+task.ID
		}
		switch state {
		case "done":
			task.State, task.Desired = cluster.Complete, cluster.Complete
		case "lost":
			task.State, task.Desired = cluster.Failed, client.Shutdown
		}
		if mode.PerNode() {
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
	return newView(s, tasks, g)
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
