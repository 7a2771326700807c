package state

import (
	"strings"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// Outcome is what taking in a peer's message did.
type Outcome struct {
	Changed []Record // taken over from the peer
	Spread  []Record // this node's own, written anew with a version that counts: the caller spreads them
	Dropped []Record // live ones given up, because the cluster has forgotten them: worth a line in the log
	Refused []string // keys of records that the peer brought back from the past
	// Equal says that both had the same digest after it, as far as this node can tell.
	Equal bool
}

func (o *Outcome) add(p Outcome) {
	o.Changed = append(o.Changed, p.Changed...)
	o.Spread = append(o.Spread, p.Spread...)
	o.Dropped = append(o.Dropped, p.Dropped...)
	o.Refused = append(o.Refused, p.Refused...)
	o.Equal = p.Equal
}

// acks is what this node knows of each other one: both agree on all records up to that counter, and the other
// will write none of that counter or less. See the package comment.
type acks map[string]uint64

// observe remembers an agreement. An older, greater one still holds: clip has kept it true.
func (a acks) observe(node string, counter uint64) { a[node] = max(a[node], counter) }

// clip ends all agreement about a record of that counter, which this node has just taken in.
func (a acks) clip(counter uint64) {
	for node, c := range a {
		if c >= counter {
			a[node] = counter - 1
		}
	}
}

// horizon returns the counter that this node and all those agree up to.
func (a acks) horizon(own uint64, known []string) uint64 {
	for _, node := range known {
		own = min(own, a[node])
	}
	return own
}

// guarded tells whether a record falls under the rules of the horizon. A live report does not: it has one
// writer and is on no disk, so a node that has just started holds none, and its lack of one means nothing.
func guarded(key string, deleted bool) bool { return deleted || cluster.Persistent(key) }

// refuses is the admission gate: it tells whether a record of that key and counter, offered by a peer of that
// horizon, may be one that this node has purged.
func (s *Store) refuses(horizon uint64, key string, counter uint64, deleted bool) bool {
	if s.trusting || horizon >= s.horizon || counter > s.horizon || !guarded(key, deleted) {
		return false
	}
	_, held := s.set.records[key]
	return !held
}

// admit takes in the records of a peer of that horizon.
func (s *Store) admit(horizon uint64, records []Record, o *Outcome) error {
	for _, r := range records {
		if s.refuses(horizon, r.Key, r.Version.Counter, r.Deleted) {
			o.Refused = append(o.Refused, r.Key)
			continue
		}
		if forged(r.Key, r.Version, r.Deleted) {
			o.Refused = append(o.Refused, r.Key)
			continue
		}
		if mine, held := s.set.records[r.Key]; held && r.Key == cluster.ReportKey(s.self) && s.reported {
			// Only this node writes this record, so this one is from before its last start, or from a node that
			// took it for gone. What this life has said stands, unless it has taken that back and the tombstone is gone.
			if newer(r, mine.Record) {
				s.clock = max(s.clock, r.Version.Counter)
				if err := s.rewrite(mine.Record, o); err != nil {
					return err
				}
			}
			continue
		}
		if s.take(r) {
			o.Changed = append(o.Changed, r)
		}
	}
	return nil
}

// forged tells whether a report was written by another node than the one that it is of. Others only ever delete it.
func forged(key string, version Version, deleted bool) bool {
	kind, name := cluster.SplitKey(key)
	return kind == cluster.KindReport && !deleted && version.Node != name
}

// rewrite gives a record of this node a new version.
func (s *Store) rewrite(r Record, o *Outcome) error {
	r, err := s.write(r)
	if err == nil {
		o.Spread = append(o.Spread, r)
	}
	return err
}

// adopt is what the stale side does on a message of a peer with a greater horizon: it gives up what that peer
// has purged and, once it holds all that the peer holds, takes over the horizon.
func (s *Store) adopt(in Message, o *Outcome) error {
	ours := s.set.byBucket()
	for _, list := range in.Lists {
		theirs := list.byKey()
		for _, h := range ours[list.Bucket] {
			r := h.Record
			_, known := theirs[r.Key]
			if known || r.Version.Counter > in.Horizon || !guarded(r.Key, r.Deleted) || s.trusting && !r.Deleted {
				continue
			}
			if s.unheard(r) {
				// The peer has not purged this, but never had it: its counter is small only because the clock of a
				// new node starts at zero.
				if err := s.rewrite(r, o); err != nil {
					return err
				}
				continue
			}
			s.set.drop(r.Key)
			s.changes++
			s.wake(r.Key)
			if !r.Deleted {
				o.Dropped = append(o.Dropped, r)
			}
			if r.Key == cluster.NodeKey(s.self) {
				s.expel()
			}
		}
	}
	if c := s.compare(in); c.known && c.iHoldTheirs {
		s.horizon = in.Horizon
		s.kept = max(s.kept, s.horizon)
		s.changes++
		s.wakeAll()
	}
	return nil
}

// observe draws the conclusions from a message of a peer with the same horizon.
func (s *Store) observe(in Message, o *Outcome) error {
	c := s.compare(in)
	if !c.known {
		return nil
	}
	if s.live(cluster.NodeKey(in.From)) {
		s.acks.observe(in.From, min(in.Durable, c.agreed))
	}
	me, ok := s.set.records[cluster.NodeKey(s.self)]
	if s.removed(s.self) {
		return nil // it holds what tells it that it is no member any more
	}
	if s.joined || !c.theyHoldMine || !c.iHoldTheirs || !ok || me.Deleted || me.Version.Counter > in.Durable {
		return nil
	}
	return s.join(o)
}

// join makes this node a member, now that a peer has its node record on disk and it knows all that this peer
// knows. Leaders that have not heard of it may have reached agreements with that peer before, up to the peer's
// clock, which is now this node's too. What it wrote as a stranger is written anew, to lie above them.
func (s *Store) join(o *Outcome) error {
	anew := s.set.list(s.unheard)
	s.joined, s.since, s.alone = true, 0, make(map[string]Version)
	s.changes++
	s.wakeAll()
	for _, r := range anew {
		if err := s.rewrite(r, o); err != nil {
			return err
		}
	}
	return nil
}

// expel makes this node a stranger, since it has learned that it was forgotten or removed. Its agent may write a new node
// record; until the store has joined again, leaders may not wait for it.
func (s *Store) expel() {
	s.member = false
	if s.joined {
		s.joined, s.since = false, s.clock
		s.kept = max(s.kept, s.clock)
		s.changes++
	}
}

// unheard tells whether a record is one that this node wrote as a stranger.
func (s *Store) unheard(r Record) bool { return s.alone[r.Key] == r.Version }

// RaiseHorizon purges the tombstones that every known node has acknowledged, and returns them. A node is known
// as long as its node/<id> record lives, be it up or down, and it was not removed. Only the leader calls this, every now and then; the
// others learn the new horizon in their next exchange. Two leaders at a time do no harm, only less good.
func (s *Store) RaiseHorizon() []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.joined || !s.live(cluster.NodeKey(s.self)) || s.removed(s.self) {
		// It is no member, or not yet: then others have reached agreements that it does not know of. A node that
		// has been alone all its life keeps its few tombstones.
		return nil
	}
	var known []string
	for key, h := range s.set.records {
		if id, ok := strings.CutPrefix(key, cluster.NodeKey("")); ok && !h.Deleted && id != s.self && !s.removed(id) {
			known = append(known, id)
		}
	}
	limit := s.acks.horizon(s.durable, known)
	purged := s.set.list(func(r Record) bool { return r.Deleted && r.Version.Counter <= limit })
	// No further than needed: what lies beyond the horizon is admitted from any peer.
	next := s.horizon + 1
	for _, r := range purged {
		next = max(next, r.Version.Counter)
	}
	if len(purged) == 0 || next > limit {
		return nil
	}
	for _, r := range purged {
		s.set.drop(r.Key)
	}
	s.horizon = next
	s.changes++
	s.wakeAll()
	return purged
}

// removed tells whether a node was removed for good. What it says of itself since does not make it known again.
func (s *Store) removed(id string) bool { return s.live(cluster.RemovedKey(id)) }

func (s *Store) live(key string) bool {
	h, ok := s.set.records[key]
	return ok && !h.Deleted
}
