package scheduler

import (
	"cmp"
	"slices"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// place gives a node to every task of the service that has none or must leave its own, as far as nodes fit.
func (s *service) place(p *pass) {
	if s.global() {
		s.placeGlobal(p)
		return
	}
	s.present.full = false
	for _, e := range s.past {
		e.full = false
	}
	for _, t := range s.tasks {
		if t.Ended != "" || t.node != nil && t.rank != departing && !t.node.Leaving || t.moving() {
			continue
		}
		if t.next != nil && t.next.Ended != "" {
			// It had its try. Now the old one has to move, and that is more urgent than another try.
			s.abandon(t)
			t.tried = true
		}
		from := t
		if t.next != nil {
			from = t.next
		}
		n, e := s.choose(p, t, from)
		switch {
		case n == nil:
			s.unfit(p, t)
		case t.rank == departing:
			s.replace(p, t, n, e, from.avoidedBy(e))
		default:
			avoid := from.avoidedBy(e)
			s.abandon(t)
			if t.node != nil {
				s.release(t)
			}
			s.settle(p, t, n, e)
			t.Avoid = avoid
		}
	}
}

// choose returns where the slot of t goes, and made from what. Where it is the slot's turn in an update, that is the
// present spec; but rather what it was than nothing.
func (s *service) choose(p *pass, t, from *task) (*node, *edition) {
	own := s.own(from)
	if s.turnsNow(from) && !t.tried {
		if n := s.bestWithout(p, t, s.present, from.avoidedBy(s.present)); n != nil {
			s.underWay++
			return n, s.present
		}
	}
	return s.bestWithout(p, t, own, from.avoidedBy(own)), own
}

// bestWithout returns the best node for a task as if it had left its own already. That one never fits: it is the
// reason for leaving.
func (s *service) bestWithout(p *pass, t *task, e *edition, avoid []string) *node {
	if e.full {
		return nil
	}
	old := t.node
	if old != nil {
		s.release(t)
	}
	n, _ := s.best(p, t.Slot, e, avoid)
	if old != nil {
		s.assign(t, old)
	}
	// The filters do not depend on the slot: what does not fit now, fits for no other slot either.
	e.full = n == nil
	return n
}

// unfit is for a task that fits nowhere else. On a node that merely shuts down it stays until the end; the node
// may be back in a minute.
func (s *service) unfit(p *pass, t *task) {
	s.abandon(t)
	if t.node != nil && !s.mayStay(t.node) {
		s.unplace(t)
		p.freed = true
	}
}

// placeGlobal gives a task to every node that fits and has none.
func (s *service) placeGlobal(p *pass) {
	e := s.own(s.newTask(0, ""))
	for _, n := range s.candidates(p, e) {
		if s.perNode[n.index] > 0 || s.room(e, n) != fits || s.taskOn(n.ID) != nil {
			continue
		}
		t := s.newTask(0, n.ID)
		s.settle(p, t, n, e)
		s.tasks = append(s.tasks, t)
	}
}

// settle makes a task of the edition on the node. The attempt is above every one that the service has
// used up, so the task's ID is one that no container of the service has had; and should another leader have used
// up more, it is still none that a node has now.
func (s *service) settle(p *pass, t *task, n *node, e *edition) {
	follows := s.follows(p, t)
	t.edition = e
	s.assign(t, n)
	t.rank, t.failing = unstarted, false
	attempt := max(t.Attempt, s.retired, s.update.Base) + 1
	id := taskID(s.ID, t.Slot, n.ID, attempt)
	for _, taken := p.status[id]; taken; _, taken = p.status[id] {
		attempt++
		id = taskID(s.ID, t.Slot, n.ID, attempt)
	}
	t.Task = cluster.Task{
		ID: id, Slot: t.Slot, Node: n.ID, SpecVersion: e.version, Attempt: attempt, Replaces: t.Replaces, Follows: follows,
	}
}

// follows is the task that must have ended before the one starts that is placed in the stead of t: the one that t had
// to wait for and that is still there, or, of a job, whose work is not done twice at a time, t itself.
func (s *service) follows(p *pass, t *task) string {
	if _, there := p.status[t.Follows]; there {
		return t.Follows
	}
	if _, there := p.status[t.ID]; there && s.job() {
		return t.ID
	}
	return ""
}

// best returns the node that a slot should go to, nil where none fits, and whether it is not one to avoid.
func (s *service) best(p *pass, slot int, e *edition, avoid []string) (n *node, fresh bool) {
	var best candidate
	for _, n := range s.candidates(p, e) {
		if s.room(e, n) != fits {
			continue
		}
		_, avoided := slices.BinarySearch(avoid, n.ID)
		c := candidate{node: n, avoided: avoided, share: s.share(e, n)}
		if best.node == nil || s.compare(slot, c, best) < 0 {
			best = c
		}
	}
	return best.node, !best.avoided
}

// avoidedBy lists the nodes that failed this slot with that version of the spec; another one starts without
// prejudice.
func (t *task) avoidedBy(e *edition) []string {
	if t.SpecVersion != e.version {
		return nil
	}
	return t.Avoid
}

// candidate is a node that fits, with what is dear to compute twice.
type candidate struct {
	*node
	avoided bool
	share   float64
}

// compare orders two nodes for a slot, the better one first.
func (s *service) compare(slot int, a, b candidate) int {
	if a.avoided != b.avoided {
		if a.avoided {
			return 1
		}
		return -1
	}
	if c := cmp.Compare(s.perNode[a.index], s.perNode[b.index]); c != 0 {
		return c
	}
	for i := range s.spread {
		if c := cmp.Compare(s.spread[i].at(a.node), s.spread[i].at(b.node)); c != 0 {
			return c
		}
	}
	// Tasks that reserve nothing still need something, so their number decides between equal shares.
	load := cmp.Or(cmp.Compare(a.share, b.share), cmp.Compare(a.tasks, b.tasks))
	if load != 0 {
		if s.Spec.Placement.Strategy == cluster.Binpack {
			return -load
		}
		return load
	}
	return cmp.Or(cmp.Compare(affinity(s, slot, b.node), affinity(s, slot, a.node)), cmp.Compare(a.ID, b.ID))
}

// share is the part of the node that would be reserved with one more task of the edition: of memory or of
// CPU, whichever is scarcer. Counting the new task in prefers the larger of two empty nodes.
func (s *service) share(e *edition, n *node) float64 {
	return shareOf(n.reserved.Add(e.needs), n.Capacity)
}

// shareOf is the part of the scarcer resource. A division of two floats is rounded alike on every processor; a sum
// of products might not be.
func shareOf(reserved, capacity cluster.Amount) float64 {
	return max(part(reserved.MemoryBytes, capacity.MemoryBytes), part(reserved.NanoCPUs, capacity.NanoCPUs))
}

func part(reserved, capacity int64) float64 {
	if capacity <= 0 {
		return 0
	}
	return float64(reserved) / float64(capacity)
}

// level counts the tasks of a service by the value that their nodes have for a spread preference. As in
// docker, a later preference counts within the values of the earlier ones, and nodes without the label are a
// group of their own.
type level struct {
	group []int // by node.index
	count []int // by group
}

func (l *level) add(n *node, delta int) { l.count[l.group[n.index]] += delta }

func (l *level) at(n *node) int { return l.count[l.group[n.index]] }

func spreadLevels(attributes []string, nodes []*node) []level {
	type key struct {
		parent int
		value  string
	}
	levels := make([]level, 0, len(attributes))
	parents := make([]int, len(nodes))
	for _, attr := range attributes {
		l := level{group: make([]int, len(nodes))}
		groups := map[key]int{}
		for i, n := range nodes {
			k := key{parents[i], n.Attribute(attr)}
			id, ok := groups[k]
			if !ok {
				id = len(groups)
				groups[k] = id
			}
			l.group[i] = id
		}
		l.count = make([]int, len(groups))
		parents = l.group
		levels = append(levels, l)
	}
	return levels
}
