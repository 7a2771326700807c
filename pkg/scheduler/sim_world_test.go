package scheduler

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// shelfSim is a shelf in steps of a second on which services are updated: nodes that start containers after a while,
// restart those that fail, come and go; and a leader that may forget all it has seen.
type shelfSim struct {
	r        *rand.Rand
	second   int
	roomy    bool // every node has room for everything
	services []cluster.Service
	plans    map[string]cluster.Plan
	nodes    []*simNode
	procs    map[string]*process // by ID of the task
	seen     map[string]sighting // by ID of the task
	booted   int                 // when the leader began
	images   int
	places   map[string]map[string]fate // by service, then by slot or node
	count    map[string]int
}

type simNode struct {
	id           string
	up           bool
	availability cluster.Availability
	memory       int64
}

// process is a container.
type process struct {
	cluster.TaskStatus
	node  string
	image string
	wait  int // seconds until something happens to it
}

// sighting is what a leader has seen of a task: see package leader.
type sighting struct {
	state    cluster.State
	restarts int
	since    int
	ran      int
}

// fate is why a place does not serve.
type fate string

const (
	serves fate = "serves"
	lost   fate = "lost"  // by a failure, or with its node
	given  fate = "given" // up by the leader
)

// What the images of a name that begins so do. A task of a job ends.
var (
	qualities    = []string{"good", "good", "good", "crash", "reject", "sick"}
	jobQualities = []string{"task"}
)

func newShelfSim(seed uint64) *shelfSim {
	w := &shelfSim{
		r: rand.New(rand.NewPCG(seed, 17)), plans: map[string]cluster.Plan{}, procs: map[string]*process{},
		seen: map[string]sighting{}, places: map[string]map[string]fate{}, count: map[string]int{},
	}
	w.roomy = w.r.IntN(3) > 0
	for i := range 2 + w.r.IntN(4) {
		w.nodes = append(w.nodes, &simNode{id: fmt.Sprint("n", i), up: true, availability: cluster.Active, memory: 1 << 40})
		if !w.roomy {
			w.nodes[i].memory = int64(4+w.r.IntN(3)) << 20
		}
	}
	for i := range 1 + w.r.IntN(2) {
		s := cluster.Service{ID: fmt.Sprint("id", i), SpecVersion: 1, Spec: cluster.Spec{Name: fmt.Sprint("s", i), Mode: cluster.Replicated, Replicas: 1 + w.r.IntN(6)}}
		switch w.r.IntN(4) {
		case 0:
			s.Spec.Mode, s.Spec.Replicas = cluster.Global, 0
		case 1:
			if !w.roomy {
				s.Spec.Placement.MaxPerNode = 2
			}
		}
		if !w.roomy {
			s.Spec.Resources.Reservations.MemoryBytes = 1 << 20
			s.Spec.Replicas = min(s.Spec.Replicas, len(w.nodes))
			if w.r.IntN(4) == 0 {
				s.Spec.Ports = []cluster.Port{{Published: uint16(80 + i), Target: 80, Protocol: cluster.TCP, Mode: cluster.PortHost}}
			}
		}
		s.Spec.Container.Image = "good"
		s.Spec = w.policy(s.Spec).WithDefaults()
		w.services = append(w.services, s)
		w.places[s.Spec.Name] = map[string]fate{}
	}
	return w
}

// policy chooses how the service is updated.
func (w *shelfSim) policy(s cluster.Spec) cluster.Spec {
	config := func(actions ...cluster.FailureAction) cluster.UpdateConfig {
		return cluster.UpdateConfig{
			Parallelism:     pick(w.r, []int{1, 1, 2, 3, 0}),
			Delay:           time.Duration(pick(w.r, []int{0, 0, 2})) * time.Second,
			Monitor:         time.Duration(1+w.r.IntN(4)) * time.Second,
			MaxFailureRatio: pick(w.r, []float64{0, 0, 0.3, 1}),
			FailureAction:   pick(w.r, actions),
			Order:           pick(w.r, []cluster.Order{cluster.OrderAuto, cluster.StartFirst, cluster.StopFirst}),
		}
	}
	s.Update = config(cluster.OnFailurePause, cluster.OnFailureContinue, cluster.OnFailureRollback)
	s.Rollback = config(cluster.OnFailurePause, cluster.OnFailureContinue)
	s.Restart = cluster.RestartPolicy{MaxAttempts: max(0, w.r.IntN(8)-4)}
	return s
}

// disturb lets something happen.
func (w *shelfSim) disturb() {
	s := &w.services[w.r.IntN(len(w.services))]
	n := w.nodes[w.r.IntN(len(w.nodes))]
	now := time.Time{}
	switch w.r.IntN(16) {
	case 0, 1, 2, 3:
		spec := s.Spec
		if w.r.IntN(3) == 0 {
			spec = w.policy(spec).WithDefaults()
		}
		w.images++
		from := qualities
		if s.Spec.Mode.Job() {
			from = jobQualities
		}
		spec.Container.Image = fmt.Sprint(pick(w.r, from), w.images)
		w.change(s, s.Changed(spec, now))
	case 4:
		if back, err := s.RolledBack(false, now); err == nil {
			w.change(s, back)
		}
	case 5, 6:
		if !s.Spec.Mode.PerNode() {
			most := 8
			if !w.roomy {
				most = len(w.nodes)
			}
			*s = s.Scaled(w.r.IntN(most+1), now)
		}
	case 7:
		if w.upNodes() > 1 && n.up {
			n.up = false
			maps.DeleteFunc(w.procs, func(_ string, p *process) bool { return p.node == n.id })
		}
	case 8, 9:
		n.up = true
	case 10:
		n.availability = cluster.Drain
	case 11:
		n.availability = cluster.Pause
	case 12, 13:
		n.availability = cluster.Active
	case 14:
		for _, id := range slices.Sorted(maps.Keys(w.procs)) {
			if p := w.procs[id]; p.State == cluster.Running && w.r.IntN(len(w.procs)) == 0 {
				p.fail("killed")
				break
			}
		}
	case 15:
		w.newLeader()
	}
}

// change stores the service. From here on it is another update that answers for places that are not served.
func (w *shelfSim) change(s *cluster.Service, to cluster.Service) {
	*s = to
	for place, f := range w.places[s.Spec.Name] {
		if f == given {
			w.places[s.Spec.Name][place] = lost
		}
	}
}

func (w *shelfSim) newLeader() {
	clear(w.seen)
	w.booted = w.second
}

func (w *shelfSim) upNodes() int {
	n := 0
	for _, node := range w.nodes {
		if node.up {
			n++
		}
	}
	return n
}

// input is what the leader knows.
func (w *shelfSim) input() Input {
	in := Input{Services: w.services, Plans: w.plans, Status: map[string]Reported{}}
	for _, n := range w.nodes {
		node := Node{
			NodeFacts: cluster.NodeFacts{ID: n.id, Hostname: n.id}, Capacity: cluster.Amount{MemoryBytes: n.memory},
			Availability: n.availability, Condition: cluster.Ready, Settled: true,
		}
		if !n.up {
			node.Condition = cluster.Down
			if w.booted > 0 && w.second-w.booted < 4 {
				node.Condition = Unknown
			}
		}
		in.Nodes = append(in.Nodes, node)
	}
	now := map[string]sighting{}
	for id, p := range w.procs {
		m, known := w.seen[id]
		if !known || m.state != p.State || m.restarts != p.Restarts {
			if m.state == cluster.Running {
				m.ran = max(m.ran, w.second-m.since)
			}
			m.state, m.restarts, m.since = p.State, p.Restarts, w.second
		}
		now[id] = m
		in.Status[id] = Reported{
			Node: p.node, TaskStatus: p.TaskStatus,
			For: time.Duration(w.second-m.since) * time.Second, Ran: time.Duration(m.ran) * time.Second,
		}
	}
	w.seen = now
	return in
}

// work is what all workers do in a second.
func (w *shelfSim) work() {
	planned := map[string]bool{}
	for _, s := range w.services {
		for _, t := range w.plans[s.Spec.Name].Tasks {
			if n := w.node(t.Node); t.Ended == "" && n != nil && n.up {
				planned[t.ID] = true
				w.start(s, t)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.procs)) {
		p := w.procs[id]
		switch {
		case planned[id]:
			p.live(w.r, w.service(p.Service).Spec.Restart)
		case p.State != cluster.Running:
			delete(w.procs, id)
		default:
			if p.wait--; p.wait < -3 { // all nodes have released it
				delete(w.procs, id)
			}
		}
	}
}

// start makes the container of a task that has none, if it need not wait for another one to end.
func (w *shelfSim) start(s cluster.Service, t cluster.Task) {
	if w.procs[t.ID] != nil {
		return
	}
	if w.procs[t.Follows] != nil {
		w.count["waited"]++
		return
	}
	spec, known := s.SpecOf(t.SpecVersion)
	p := &process{node: t.Node, image: spec.Container.Image, wait: 1 + w.r.IntN(3), TaskStatus: cluster.TaskStatus{
		ID: t.ID, Service: s.Spec.Name, ServiceID: s.ID, Slot: t.Slot, SpecVersion: t.SpecVersion, State: cluster.Starting,
	}}
	if !known {
		p.State, p.Error, p.image = cluster.Failed, "its spec is forgotten", "forgotten"
	}
	w.procs[t.ID] = p
}

// live lets a second pass for a container that is wanted.
func (p *process) live(r *rand.Rand, policy cluster.RestartPolicy) {
	p.wait--
	if p.wait > 0 || p.Final {
		return
	}
	switch task := strings.HasPrefix(p.image, "task"); {
	case p.State == cluster.Running && !task:
	case p.State == cluster.Running && r.IntN(4) == 0:
		p.fail("exit code 1")
	case p.State == cluster.Running:
		p.State, p.Final = cluster.Complete, true
	case p.State == cluster.Starting && task:
		p.State, p.wait = cluster.Running, 2+r.IntN(4)
	case strings.HasPrefix(p.image, "forgotten"):
	case strings.HasPrefix(p.image, "reject"):
		p.State, p.Error = cluster.Rejected, "no such image"
	case p.State == cluster.Failed && policy.MaxAttempts > 0 && p.Restarts >= policy.MaxAttempts:
		p.Final = true
	case p.State == cluster.Failed:
		p.State, p.wait = cluster.Starting, 1+r.IntN(2)
		p.Restarts++
	case p.State == cluster.Unhealthy, strings.HasPrefix(p.image, "crash"):
		p.fail("exit code 1")
	case strings.HasPrefix(p.image, "sick"):
		p.State, p.wait = cluster.Unhealthy, 1
	default:
		p.State, p.wait = cluster.Running, 0
	}
}

func (p *process) fail(why string) { p.State, p.Error, p.wait = cluster.Failed, why, 2 }

func (w *shelfSim) node(id string) *simNode {
	for _, n := range w.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

func (w *shelfSim) service(name string) cluster.Service {
	return w.services[slices.IndexFunc(w.services, func(s cluster.Service) bool { return s.Spec.Name == name })]
}

// served lists the places of the service that serve.
func (w *shelfSim) served(s cluster.Service) map[string]bool {
	out := map[string]bool{}
	for _, t := range w.plans[s.Spec.Name].Tasks {
		if p := w.procs[t.ID]; p != nil && p.State == cluster.Running {
			out[placeOf(s, t)] = true
		}
	}
	return out
}

func placeOf(s cluster.Service, t cluster.Task) string {
	if s.Spec.Mode.PerNode() {
		return t.Node
	}
	return fmt.Sprint(t.Slot)
}
