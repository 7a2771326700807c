package state

import "fmt"

// maxSteps bounds the messages that one Exchange sends. Two are the rule when something differs.
const maxSteps = 8

// Exchange brings this node and a peer to the same state, as far as eight steps go; each is a call of send,
// which hands the peer a message and returns the peer's Receive's answer. If send fails, what came before it
// stays, and the outcome tells it.
func (s *Store) Exchange(send func(Message) (Message, error)) (Outcome, error) {
	var all Outcome
	m := s.Summary()
	for range maxSteps {
		reply, err := send(m)
		if err != nil {
			return all, err
		}
		next, o, err := s.Receive(reply)
		all.add(o)
		if err != nil {
			return all, err
		}
		switch {
		case !next.Empty():
			m = next
		case all.Equal:
			return all, nil
		default:
			m = s.Summary() // More than one round could hold, or something changed meanwhile.
		}
	}
	return all, nil
}

// Summary returns the message that opens an exchange: a bit more than half a kilobyte, whatever the state.
func (s *Store) Summary() Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.summary()
}

func (s *Store) summary() Message {
	return Message{
		From: s.self, Horizon: s.horizon, Clock: s.clock, Durable: s.durable, Buckets: s.set.buckets,
	}
}

// Receive takes in a peer's message and returns the answer, which may be Empty. A message that no honest node
// sends is refused as a whole.
func (s *Store) Receive(in Message) (Message, Outcome, error) {
	if err := in.validate(); err != nil {
		return Message{}, Outcome{}, fmt.Errorf("message of %.80q: %w", in.From, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.reach(in.Clock); err != nil {
		return Message{}, Outcome{}, fmt.Errorf("message of %s: %w", in.From, err)
	}
	s.clock = max(s.clock, in.Clock)
	var o Outcome
	err := s.admit(in.Horizon, in.Records, &o)
	if err == nil && in.Horizon > s.horizon {
		err = s.adopt(in, &o)
	}
	if err == nil && in.Horizon == s.horizon {
		err = s.observe(in, &o)
	}
	s.wakeFor(o.Changed)
	if err != nil {
		return Message{}, o, err
	}
	o.Equal = in.Horizon == s.horizon && in.Buckets == s.set.buckets
	return s.answer(in), o, nil
}

// reach refuses a counter so far ahead that only a broken clock can have got there.
func (s *Store) reach(counter uint64) error {
	if counter > s.clock+maxJump {
		return fmt.Errorf("counter %d is too far ahead of %d", counter, s.clock)
	}
	return nil
}

// comparison is what a message tells about its sender's records against this node's.
type comparison struct {
	known        bool   // every bucket is equal or listed, so that the rest is sure
	agreed       uint64 // no record of this counter or less is missing on one side
	iHoldTheirs  bool   // each of their records, or a newer one of the key
	theyHoldMine bool
}

func (s *Store) compare(in Message) comparison {
	c := comparison{agreed: MaxCounter, iHoldTheirs: true, theyHoldMine: true}
	lists := make(map[int]map[string]Entry, len(in.Lists))
	for _, l := range in.Lists {
		lists[l.Bucket] = l.byKey()
	}
	for b := range Buckets {
		if _, listed := lists[b]; !listed && s.set.buckets[b] != in.Buckets[b] {
			return comparison{}
		}
	}
	c.known = true
	if len(lists) == 0 {
		return c // Equal, as almost always: no need to look at each record.
	}
	miss := func(counter uint64) { c.agreed = min(c.agreed, counter-1) }
	for key, mine := range s.set.records {
		list, listed := lists[bucketOf(key)]
		if !listed {
			continue
		}
		theirs, held := list[key]
		delete(list, key)
		switch order := mine.Version.Compare(theirs.Version); {
		case !held || order > 0:
			c.theyHoldMine = false
			miss(mine.Version.Counter)
		case order < 0:
			c.iHoldTheirs = false
			miss(theirs.Version.Counter)
		case theirs.Sum != short(mine.sum):
			c.theyHoldMine, c.iHoldTheirs = false, false
			miss(theirs.Version.Counter)
		}
	}
	for _, list := range lists {
		for _, theirs := range list {
			c.iHoldTheirs = false
			miss(theirs.Version.Counter)
		}
	}
	return c
}

// answer builds the answer to a message that has been taken in.
func (s *Store) answer(in Message) Message {
	out := s.summary()
	// Lists are the answer to an opening. A stale peer needs them at every step, for they tell it what to give up.
	if in.Empty() || in.Horizon < s.horizon {
		out.Lists = s.lists(in.Buckets)
	}
	send := s.pick(in.Want)
	var ours [Buckets][]held
	if len(in.Lists) > 0 {
		ours = s.set.byBucket()
	}
	for _, l := range in.Lists {
		theirs := l.byKey()
		for _, mine := range ours[l.Bucket] {
			if e, held := theirs[mine.Key]; !held || mine.Version.Compare(e.Version) > 0 || tied(mine, e) {
				send = append(send, mine.Record)
			}
		}
		for _, e := range l.Entries {
			mine, held := s.set.records[e.Key]
			lacking := !held || e.Version.Compare(mine.Version) > 0 || tied(mine, e)
			if lacking && !s.refuses(in.Horizon, e.Key, e.Version.Counter, e.Deleted) && !forged(e.Key, e.Version, e.Deleted) {
				out.Want = append(out.Want, e.Key)
			}
		}
	}
	out.Want = within(wantBudget, out.Want, func(key string) int { return len(appendString(nil, key)) })
	out.Records = fitting(send)
	return out
}

// tied tells whether two records have equal versions and yet differ. Both sides then need to see both.
func tied(mine held, e Entry) bool { return mine.Version == e.Version && short(mine.sum) != e.Sum }

// lists returns what this node holds in the buckets whose digests differ.
func (s *Store) lists(theirs [Buckets]uint64) []List {
	if s.set.buckets == theirs {
		return nil
	}
	var all []List
	for b, records := range s.set.byBucket() {
		if s.set.buckets[b] == theirs[b] {
			continue
		}
		l := List{Bucket: b}
		for _, h := range records {
			l.Entries = append(l.Entries, Entry{Key: h.Key, Version: h.Version, Deleted: h.Deleted, Sum: short(h.sum)})
		}
		all = append(all, l)
	}
	return within(listBudget, all, func(l List) int {
		size := 4
		for _, e := range l.Entries {
			size += len(appendEntry(nil, e))
		}
		return size
	})
}

// within returns the first of the things whose sizes add up to the budget, and one at least.
func within[T any](budget int, things []T, size func(T) int) []T {
	total := 0
	for i, t := range things {
		if total += size(t); total > budget && i > 0 {
			return things[:i]
		}
	}
	return things
}

// fitting returns the first of the records, as many as one message holds.
func fitting(records []Record) []Record {
	return within(recordBudget, records, func(r Record) int { return len(appendRecord(nil, r)) })
}

func (s *Store) wakeFor(records []Record) {
	keys := make([]string, 0, len(records))
	for _, r := range records {
		keys = append(keys, r.Key)
	}
	s.wake(keys...)
}
