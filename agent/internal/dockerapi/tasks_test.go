package dockerapi

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/moby/moby/api/types/swarm"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// Docker's client shows the tasks of a slot from the one that was made last to the first, by their times, whatever order
// they come in. One that waits for a place is made as late as what it follows, though nothing has happened to it since.
func TestTasksInOrder(t *testing.T) {
	n, h := start(t)
	record, _ := n.store.Get(cluster.ReportKey(piOne))
	var report cluster.Report
	if err := json.Unmarshal(record.Value, &report); err != nil {
		t.Fatal(err)
	}
	report.History = append(report.History, cluster.TaskStatus{
		ID: "t0t0t0t0t0t0t0t0t0t0t0t0t", Service: "greeters", ServiceID: greetersID, Slot: 2, SpecVersion: 7, State: cluster.Failed, Since: at.Add(time.Hour),
	})
	put(t, n.store, cluster.ReportKey(piOne), report)
	_, answer := call(h, "GET", "/tasks", "")
	var all []swarm.Task
	if err := json.Unmarshal([]byte(answer), &all); err != nil || len(all) != 4 {
		t.Fatalf("%d tasks, %v", len(all), err)
	}
	ids := map[string]bool{}
	for i, one := range all {
		ids[one.ID] = true
		if i > 0 && all[i-1].Slot == one.Slot && all[i-1].CreatedAt.Before(one.CreatedAt) {
			t.Errorf("%s of slot %d was made before the one that it follows", all[i-1].ID, one.Slot)
		}
	}
	if len(ids) != 4 {
		t.Errorf("%d IDs of 4 tasks", len(ids))
	}
}
