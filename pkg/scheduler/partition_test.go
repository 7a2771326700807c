package scheduler

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// world is a shelf in steps of a second, simple but for what matters when a partition ends: plans with versions,
// workers that hold what another leader's plan leaves out, and reports that arrive late.
type world struct {
	r          *rand.Rand
	services   []cluster.Service
	nodes      []string
	containers map[string]*container
	sides      []*side
}

// side is the nodes that see one another and what they hold in common.
type side struct {
	nodes    []string
	plans    map[string]versioned
	reported map[string]int // by node: from which second on its report is there
	now      int
}

type versioned struct {
	cluster.Plan
	counter uint64
	leader  string
}

func (v versioned) compare(w versioned) int {
	return cmp.Or(cmp.Compare(v.counter, w.counter), cmp.Compare(v.leader, w.leader))
}

type container struct {
	cluster.TaskStatus
	node    string
	starts  int    // seconds until it runs
	leader  string // of the plan that this node saw last
	left    int    // seconds until it ends, while it is in no plan
	leaving bool
}

// Seconds for which a worker waits with a task that is in no plan: for a leader to take it in, and for the others to
// release it.
const (
	hold  = 5
	bound = 3
)

// step is one second: the leader decides, then each worker follows.
func (w *world) step(s *side) {
	s.now++
	in := Input{Services: w.services, Plans: map[string]cluster.Plan{}, Status: map[string]Reported{}}
	for _, n := range w.nodes {
		condition := cluster.Down
		if slices.Contains(s.nodes, n) {
			if condition = cluster.Ready; s.now < s.reported[n] {
				condition = Unknown
			}
		}
		in.Nodes = append(in.Nodes, Node{NodeFacts: cluster.NodeFacts{ID: n}, Availability: cluster.Active, Condition: condition})
		if condition == cluster.Ready {
			for _, c := range w.containers {
				if c.node == n {
					in.Status[c.ID] = Reported{Node: n, TaskStatus: c.TaskStatus}
				}
			}
		}
	}
	for name, v := range s.plans {
		in.Plans[name] = v.Plan
	}
	leader := slices.Min(s.nodes)
	for name, plan := range Decide(in).Plans {
		s.plans[name] = versioned{plan, s.plans[name].counter + 1, leader}
	}
	for _, n := range s.nodes {
		w.work(s, n)
	}
}

// work is what a node's worker does in a second.
func (w *world) work(s *side, n string) {
	planned := map[string]bool{}
	for _, service := range w.services {
		v := s.plans[service.Spec.Name]
		for _, t := range v.Tasks {
			if t.Node != n {
				continue
			}
			planned[t.ID] = true
			if w.containers[t.ID] == nil {
				w.containers[t.ID] = &container{node: n, starts: 1 + w.r.IntN(8), TaskStatus: cluster.TaskStatus{
					ID: t.ID, Service: service.Spec.Name, ServiceID: service.ID, Slot: t.Slot, SpecVersion: t.SpecVersion, State: cluster.Starting,
				}}
			}
		}
	}
	for id, c := range w.containers {
		if c.node != n {
			continue
		}
		leader := s.plans[c.Service].leader
		switch {
		case planned[id]:
			c.leaving = false
			if c.starts--; c.starts <= 0 {
				c.State = cluster.Running
			}
		case c.State != cluster.Running:
			delete(w.containers, id)
		case !c.leaving:
			if c.leaving, c.left = true, bound; leader != c.leader {
				c.left += hold
			}
		default:
			// The others release it when they know of it and lead connections to another one.
			c.left--
			released := c.left < bound && s.now > s.reported[n] && w.running(c.Service, func(id string) bool { return id != c.ID && !w.containers[id].leaving }) > 0
			if released || c.left <= 0 {
				delete(w.containers, id)
			}
		}
		c.leader = leader
	}
}

func (w *world) running(service string, in func(id string) bool) int {
	n := 0
	for id, c := range w.containers {
		if c.Service == service && c.State == cluster.Running && in(id) {
			n++
		}
	}
	return n
}

// slots counts the slots of a service that run on either side, the same one on both once: no side has more. What its
// own side was about to end anyway does not count.
func (w *world) slots(s cluster.Service) int {
	slots := map[int]bool{}
	for _, c := range w.containers {
		if c.Service == s.Spec.Name && c.State == cluster.Running && !c.leaving {
			slots[c.Slot] = true
		}
	}
	return min(s.Spec.Replicas, len(slots))
}

func anyTask(string) bool { return true }

// split makes two sides of one.
func (w *world) split() {
	whole := w.sides[0]
	cut := 1 + w.r.IntN(len(whole.nodes)-1)
	order := w.r.Perm(len(whole.nodes))
	w.sides = nil
	for _, part := range [][]int{order[:cut], order[cut:]} {
		s := &side{plans: maps.Clone(whole.plans)}
		for _, i := range part {
			s.nodes = append(s.nodes, whole.nodes[i])
		}
		w.sides = append(w.sides, s)
	}
}

// heal makes the two sides one again: of each plan the higher version stays, and each node's report takes its time.
func (w *world) heal() {
	s := &side{nodes: w.nodes, plans: maps.Clone(w.sides[0].plans), reported: map[string]int{}}
	for name, v := range w.sides[1].plans {
		if v.compare(s.plans[name]) > 0 {
			s.plans[name] = v
		}
	}
	// The leader's own side is known to it; from the other one nothing is at first.
	for _, other := range w.sides {
		if !slices.Contains(other.nodes, slices.Min(w.nodes)) {
			for _, n := range other.nodes {
				s.reported[n] = w.r.IntN(bound)
			}
		}
	}
	w.sides = []*side{s}
}

// TestPartitionHealsWithoutLoss splits random shelves for a random time and joins them. From then on no service ever
// has fewer running tasks than it had slots that ran, and in the end exactly those that are wanted.
func TestPartitionHealsWithoutLoss(t *testing.T) {
	adopted, surplus := 0, 0
	for seed := range uint64(300) {
		w := &world{r: rand.New(rand.NewPCG(seed, 13)), containers: map[string]*container{}}
		for i := range 2 + w.r.IntN(5) {
			w.nodes = append(w.nodes, fmt.Sprint("n", i))
		}
		for i := range 1 + w.r.IntN(3) {
			name := fmt.Sprint("s", i)
			w.services = append(w.services, cluster.Service{ID: "id-" + name, SpecVersion: 1, Spec: cluster.Spec{
				Name: name, Mode: cluster.Replicated, Replicas: 1 + w.r.IntN(6),
			}})
		}
		w.sides = []*side{{nodes: w.nodes, plans: map[string]versioned{}}}
		for range w.r.IntN(15) {
			w.step(w.sides[0])
		}
		w.split()
		for range w.r.IntN(15) {
			w.step(w.sides[0])
			w.step(w.sides[1])
		}
		w.heal()
		atLeast, before := map[string]int{}, map[string]bool{}
		for _, s := range w.services {
			atLeast[s.Spec.Name] = w.slots(s)
			surplus += max(0, w.running(s.Spec.Name, anyTask)-s.Spec.Replicas)
			for _, task := range w.sides[0].plans[s.Spec.Name].Tasks {
				before[task.ID] = true
			}
		}
		ran := maps.Clone(w.containers)
		for second := range 30 {
			w.step(w.sides[0])
			for _, s := range w.services {
				name := s.Spec.Name
				if n := w.running(name, anyTask); n < atLeast[name] {
					t.Fatalf("seed %d: %d s after the end of the partition %d tasks of %s run, of %d wanted and %d before", seed, second, n, name, s.Spec.Replicas, atLeast[name])
				}
				planned := map[string]bool{}
				for _, task := range w.sides[0].plans[name].Tasks {
					planned[task.ID] = true
					if ran[task.ID] != nil && !before[task.ID] {
						adopted++
						before[task.ID] = true
					}
				}
				// Once every report is there, what the ingress leads to is no less either.
				if n := w.running(name, func(id string) bool { return planned[id] }); second >= 4 && n < atLeast[name] {
					t.Fatalf("seed %d: %d s after the end of the partition %d planned tasks of %s run, and %d did before", seed, second, n, name, atLeast[name])
				}
			}
		}
		for _, s := range w.services {
			if n := w.running(s.Spec.Name, anyTask); n != s.Spec.Replicas {
				t.Fatalf("seed %d: in the end %d tasks of %s run, want %d", seed, n, s.Spec.Name, s.Spec.Replicas)
			}
		}
	}
	if adopted < 50 || surplus < 50 {
		t.Errorf("%d tasks were taken in and %d were surplus: the test shows little", adopted, surplus)
	}
	t.Logf("%d tasks were taken in, %d were surplus", adopted, surplus)
}
