package scheduler

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// step is one second: the leader decides, then the workers follow. What the leader gives up is told apart from what is
// lost, and must not be more than parallelism and order allow.
func (w *shelfSim) step() error {
	w.second++
	in := w.input()
	for _, s := range w.services {
		w.account(s, lost) // since the last step only accidents have happened
	}
	out := Decide(in)
	before := w.plans
	after := apply(in, out)
	if len(out.Plans) > 0 { // else it has just decided on its own result
		if err := w.stable(after); err != nil {
			return err
		}
	}
	w.plans = after.Plans
	for _, s := range w.services {
		w.account(s, given)
		if err := w.within(s, before[s.Spec.Name]); err != nil {
			return err
		}
	}
	for i, s := range w.services {
		if slices.Contains(out.Rollback, s.Spec.Name) {
			back, err := s.RolledBack(true, time.Time{})
			if err != nil {
				return err
			}
			w.change(&w.services[i], back)
			w.count["rolled back"]++
		}
	}
	w.work()
	return w.apart()
}

// apart tells whether no work of a job is done twice at a time.
func (w *shelfSim) apart() error {
	seen := map[string]string{}
	for _, id := range slices.Sorted(maps.Keys(w.procs)) {
		p := w.procs[id]
		s := w.service(p.Service)
		if !s.Spec.Mode.Job() || p.State != cluster.Starting && p.State != cluster.Running {
			continue
		}
		where := s.Spec.Name + " " + placeOf(s, cluster.Task{Slot: p.Slot, Node: p.node})
		if seen[where] != "" {
			return fmt.Errorf("%s: %s and %s at a time", where, seen[where], id)
		}
		seen[where] = id
	}
	return nil
}

// stable tells whether the leader has nothing more to do as long as nothing changes.
func (w *shelfSim) stable(in Input) error {
	for from, again := in, Decide(in); len(again.Plans) > 0; {
		to := apply(from, again)
		if unplanned(to) >= unplanned(from) {
			return fmt.Errorf("Decide on its own result changes it from %+v to %+v", from.Plans, again.Plans)
		}
		from, again = to, Decide(to)
	}
	return nil
}

// account notes of each place of the service whether it serves, and if not, why it does not any more.
func (w *shelfSim) account(s cluster.Service, why fate) {
	now, places := w.served(s), w.places[s.Spec.Name]
	wanted := map[string]bool{}
	for _, t := range w.plans[s.Spec.Name].Tasks {
		wanted[placeOf(s, t)] = true
		if p := w.procs[t.ID]; p != nil && (p.State == cluster.Failed || p.State == cluster.Rejected || p.State == cluster.Unhealthy) && places[placeOf(s, t)] == given {
			places[placeOf(s, t)] = lost // what was to take its place has failed
		}
		if n := w.node(t.Node); (n == nil || !n.up) && places[placeOf(s, t)] == given {
			places[placeOf(s, t)] = lost
		}
	}
	for place, f := range places {
		switch {
		case !wanted[place]: // it was scaled down, or its node is not there for it
			delete(places, place)
		case f == serves && !now[place]:
			places[place] = why
		}
	}
	for place := range now {
		places[place] = serves
	}
}

// within tells whether no more places were given up than the user allows.
func (w *shelfSim) within(s cluster.Service, before cluster.Plan) error {
	if s.Spec.Mode.Job() {
		return w.atATime(s)
	}
	config := s.Spec.Update
	if s.RollingBack {
		config = s.Spec.Rollback
	}
	most := config.Parallelism
	if s.Spec.StartsFirst(config) && w.roomy {
		most = 0
	} else if most == 0 {
		return nil
	}
	n := 0
	for place, f := range w.places[s.Spec.Name] {
		if f == given && !w.pushedOut(s, before, place) {
			n++
		}
	}
	w.count["given up"] += n
	if n > most {
		return fmt.Errorf("%s: %d places were given up, at most %d may: %v; before %+v after %+v", s.Spec.Name, n, most, w.places[s.Spec.Name], before, w.plans[s.Spec.Name])
	}
	return nil
}

// atATime tells whether no more tasks of a job are there than may run, and of a slot that has succeeded none.
func (w *shelfSim) atATime(s cluster.Service) error {
	n := 0
	for _, t := range w.plans[s.Spec.Name].Tasks {
		if t.Ended == "" {
			n++
		}
	}
	if most := s.Spec.MaxConcurrent; most > 0 && n > most {
		return fmt.Errorf("%s: %d tasks, at most %d may be at a time: %+v", s.Spec.Name, n, most, w.plans[s.Spec.Name])
	}
	return nil
}

// pushedOut tells whether a place had to be given up because its node is drained and no other has room.
func (w *shelfSim) pushedOut(s cluster.Service, before cluster.Plan, place string) bool {
	for _, t := range before.Tasks {
		if n := w.node(t.Node); placeOf(s, t) == place && n != nil && n.availability == cluster.Drain {
			w.places[s.Spec.Name][place] = lost
			return s.Spec.Mode == cluster.Global || !w.roomy || !slices.ContainsFunc(w.nodes, func(n *simNode) bool { return n.up && n.availability == cluster.Active })
		}
	}
	return false
}

// ended tells whether every update has come to its end and every task to rest.
func (w *shelfSim) ended() bool {
	for _, s := range w.services {
		plan := w.plans[s.Spec.Name]
		if u := plan.Update; u.Generation != s.Generation || u.State == cluster.Updating || u.State == cluster.RollbackStarted {
			return false
		}
	}
	return true
}

// rested checks what is left when all is quiet.
func (w *shelfSim) rested() error {
	for _, s := range w.services {
		plan := w.plans[s.Spec.Name]
		w.count[string(plan.Update.State)]++
		if plan.Update.Paused() || plan.Update.State == cluster.RollbackCompleted && plan.Update.Message == "" {
			if plan.Update.Paused() && (plan.Update.Message == "" || strings.Contains(plan.Update.Message, "\n")) {
				return fmt.Errorf("%s is paused for no reason", s.Spec.Name)
			}
		}
		want := s.Spec.Replicas
		if s.Spec.Mode == cluster.Global {
			want = len(w.nodes)
		}
		serving := w.served(s)
		for _, t := range plan.Tasks {
			// What fails goes on failing, and what has ended does not run again.
			spec, known := s.SpecOf(t.SpecVersion)
			bad := !known || !strings.HasPrefix(spec.Container.Image, "good") || t.Ended != ""
			if bad && t.Replaces == "" && !serving[placeOf(s, t)] {
				want--
			}
		}
		if len(serving) != want {
			return fmt.Errorf("in the end %d places of %s serve, want %d: %+v", len(serving), s.Spec.Name, want, plan)
		}
		good := strings.HasPrefix(s.Spec.Container.Image, "good")
		if completed := plan.Update.State == cluster.UpdateCompleted || plan.Update.State == cluster.RollbackCompleted; completed && good {
			for _, t := range plan.Tasks {
				if t.SpecVersion != s.SpecVersion && len(plan.Update.Failed) == 0 {
					return fmt.Errorf("%s is completed, and a task is of another version: %+v", s.Spec.Name, plan)
				}
			}
		}
	}
	return nil
}

// run lives through a disturbed time, then a quiet one in which every update ends.
func (w *shelfSim) run() error {
	// A leader that has seen nothing cannot tell that time has passed, but must go on where that does not matter.
	forgetful := w.r.IntN(4) == 0
	for range 40 {
		if w.r.IntN(4) == 0 {
			w.disturb()
		}
		if forgetful {
			w.newLeader()
		}
		if err := w.step(); err != nil {
			return err
		}
	}
	for _, n := range w.nodes {
		n.up, n.availability = true, cluster.Active
	}
	for range 300 {
		if err := w.step(); err != nil {
			return err
		}
		if w.ended() {
			break
		}
	}
	if !w.ended() {
		return fmt.Errorf("no end after %d s: %+v", w.second, w.plans)
	}
	for range 40 {
		if err := w.step(); err != nil {
			return err
		}
	}
	return w.rested()
}

// seeds is how many worlds are simulated; PISWARM_SEEDS asks for another number.
func seeds(t *testing.T, usual uint64) uint64 {
	t.Helper()
	text := os.Getenv("PISWARM_SEEDS")
	if text == "" {
		return usual
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		t.Fatal("PISWARM_SEEDS:", err)
	}
	return n
}

// TestUpdatesKeepServing: whatever happens, the leader gives up no more tasks that serve than parallelism and order
// allow, every update ends, and what can serve does.
func TestUpdatesKeepServing(t *testing.T) {
	total := map[string]int{}
	for seed := range seeds(t, 2000) {
		w := newShelfSim(seed)
		if err := w.run(); err != nil {
			t.Fatalf("seed %d, second %d: %v", seed, w.second, err)
		}
		for what, n := range w.count {
			total[what] += n
		}
	}
	t.Log(total)
	for _, what := range slices.Sorted(maps.Keys(map[string]bool{
		"given up": true, "rolled back": true, string(cluster.UpdateCompleted): true, string(cluster.UpdatePaused): true,
		string(cluster.RollbackCompleted): true, string(cluster.RollbackPaused): true,
	})) {
		if total[what] == 0 && os.Getenv("PISWARM_SEEDS") == "" {
			t.Errorf("nothing was %s: the test shows little", what)
		}
	}
}

// TestJobsAreDone: whatever happens, no work of a job is done twice at a time, no more at a time than may be, and all of
// it in the end.
func TestJobsAreDone(t *testing.T) {
	total := map[string]int{}
	for seed := range seeds(t, 200) {
		w := newShelfSim(seed)
		if err := jobSetup(w).runJobs(); err != nil {
			t.Fatalf("seed %d, second %d: %v", seed, w.second, err)
		}
		for what, n := range w.count {
			total[what] += n
		}
	}
	t.Log(total)
	for _, what := range []string{"waited", "complete", "failed"} {
		if total[what] == 0 && os.Getenv("PISWARM_SEEDS") == "" {
			t.Errorf("nothing %s: the test shows little", what)
		}
	}
}

// jobSetup makes jobs of the services.
func jobSetup(w *shelfSim) *shelfSim {
	for i := range w.services {
		s := &w.services[i].Spec
		s.Mode, s.Ports, s.Container.Image, s.Restart.Condition = cluster.GlobalJob, nil, "task", cluster.RestartOnFailure
		if s.Replicas > 0 {
			s.Mode, s.MaxConcurrent = cluster.ReplicatedJob, w.r.IntN(3)
		}
	}
	return w
}

func (w *shelfSim) runJobs() error {
	for range 40 {
		if w.r.IntN(4) == 0 {
			w.disturb()
		}
		if err := w.step(); err != nil {
			return err
		}
	}
	for _, n := range w.nodes {
		n.up, n.availability = true, cluster.Active
	}
	for range 200 {
		if err := w.step(); err != nil {
			return err
		}
	}
	for _, s := range w.services {
		want, ended := s.Spec.Replicas, 0
		if s.Spec.Mode.PerNode() {
			want = len(w.nodes)
		}
		for _, t := range w.plans[s.Spec.Name].Tasks {
			if t.Ended == "" || t.SpecVersion != s.SpecVersion || t.Ended == cluster.Failed && s.Spec.Restart.MaxAttempts == 0 {
				return fmt.Errorf("in the end %s has %+v", s.Spec.Name, t)
			}
			w.count[string(t.Ended)]++
			ended++
		}
		if ended != want {
			return fmt.Errorf("in the end %d tasks of %s have ended, want %d", ended, s.Spec.Name, want)
		}
	}
	return nil
}
