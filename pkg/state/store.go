package state

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// ErrConflict is what PutIf returns when the record is not the expected one any more.
var ErrConflict = errors.New("changed by someone else meanwhile")

// Store is one node's copy of the replicated map. It is safe for use by many goroutines.
type Store struct {
	self string

	mu  sync.Mutex
	set set
	// clock is the greatest counter seen; the next write gets the one after it.
	clock uint64
	// kept is the greatest counter of any persistent record ever held, or the horizon if that is greater. It is
	// what goes to disk as the clock, so that a changed report alone changes nothing on disk.
	kept uint64
	// durable is a counter of which it is sure that the clock will go on beyond it after a crash, and that all
	// persistent records up to it are on disk.
	durable uint64
	// changes counts whatever alters the snapshot, to tell whether a saved one is still up to date.
	changes uint64
	horizon uint64
	// joined says that this node is a member: since it came up, it and a peer have held the same, its own node
	// record included. While it is a stranger, alone has what it wrote since that counter.
	joined bool
	since  uint64
	alone  map[string]Version
	// member says that the node was a member when it came up, and has not been forgotten since.
	member bool
	// reported says that report/<self> was written since the start, so that an older life's report loses.
	reported bool
	acks     acks

	watches map[int]watch
	nextID  int

	// trusting turns the admission gate and the dropping of live records off. Only tests set it, to show that
	// these matter.
	trusting bool
}

// Snapshot is what a node keeps on disk.
type Snapshot struct {
	Clock   uint64
	Horizon uint64
	// Joined tells whether the node was a member. If not, Since is the counter from which on it has been none.
	Joined  bool
	Since   uint64
	Records []Record // persistent ones, tombstones included, in order of their keys

	changes uint64 // of the store at the time
}

// New returns the store of the node with that ID, filled from what the node kept. A new node keeps nothing: the
// zero Snapshot.
func New(self string, from Snapshot) (*Store, error) {
	if err := validateNode(self); err != nil {
		return nil, err
	}
	if err := from.validate(); err != nil {
		return nil, err
	}
	s := &Store{
		self: self, set: newSet(), acks: make(acks), alone: make(map[string]Version), watches: make(map[int]watch),
		clock: from.Clock, kept: from.Clock, durable: from.Clock, horizon: from.Horizon, since: from.Since,
	}
	if from.Joined {
		// Whether the disk is the one that this node had last, or an older copy of it, only a peer can show.
		s.member, s.since = true, from.Clock
	}
	for _, r := range from.Records {
		s.set.merge(r)
		if r.Version.Node == self && r.Version.Counter > s.since {
			s.alone[r.Key] = r.Version
		}
	}
	return s, nil
}

func (s Snapshot) validate() error {
	if s.Clock > MaxCounter {
		return fmt.Errorf("clock %d out of range", s.Clock)
	}
	if s.Horizon > s.Clock {
		return fmt.Errorf("horizon %d is beyond the clock %d", s.Horizon, s.Clock)
	}
	if s.Since > s.Clock || s.Joined && s.Since != 0 {
		return fmt.Errorf("no member since %d does not fit", s.Since)
	}
	last := ""
	for _, r := range s.Records {
		if err := r.Validate(); err != nil {
			return err
		}
		switch {
		case r.Version.Counter > s.Clock:
			return fmt.Errorf("record %s: counter %d is beyond the clock %d", r.Key, r.Version.Counter, s.Clock)
		case r.Key <= last:
			return fmt.Errorf("record %s: not in order", r.Key)
		case !cluster.Persistent(r.Key):
			return fmt.Errorf("record %s: not of a kind that is kept", r.Key)
		}
		last = r.Key
	}
	return nil
}

// Self is the ID of the node whose store this is.
func (s *Store) Self() string { return s.self }

// Stranger tells whether this node is known, and yet no member as long as it has not exchanged with a peer.
func (s *Store) Stranger() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.joined && s.live(cluster.NodeKey(s.self))
}

// Get returns the live record of a key.
func (s *Store) Get(key string) (Record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, ok := s.set.records[key]
	if !ok || h.Deleted {
		return Record{}, false
	}
	return h.Record, true
}

// List returns the live records whose keys have the prefix, in order of their keys.
func (s *Store) List(prefix string) []Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set.list(func(r Record) bool { return !r.Deleted && strings.HasPrefix(r.Key, prefix) })
}

// Put writes a record whatever was there before, and returns it. The caller saves and spreads it, in that
// order: a record that others know and this node's disk does not would let a restarted node use its version
// for something else.
func (s *Store) Put(key string, value []byte) (Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write(Record{Key: key, Value: bytes.Clone(value)})
}

// PutIf writes a record if the live one still has the expected version, or if there is still none and expected
// is the zero Version. Otherwise the error is ErrConflict. That is the whole of a read, a change and a write on
// this node; against a write on another node at the same time the greater version wins, as ever.
func (s *Store) PutIf(key string, expected Version, value []byte) (Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var now Version
	if h, ok := s.set.records[key]; ok && !h.Deleted {
		now = h.Version
	}
	if now != expected {
		return Record{}, fmt.Errorf("record %s: %w", key, ErrConflict)
	}
	return s.write(Record{Key: key, Value: bytes.Clone(value)})
}

// Delete puts a tombstone in the place of a live record. It returns false if there is no such record.
func (s *Store) Delete(key string) (Record, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h, ok := s.set.records[key]; !ok || h.Deleted {
		return Record{}, false, nil
	}
	r, err := s.write(Record{Key: key, Deleted: true})
	return r, err == nil, err
}

// write gives a record of this node the next version and takes it in.
func (s *Store) write(r Record) (Record, error) {
	r.Version = Version{Counter: s.clock + 1, Node: s.self}
	if err := r.Validate(); err != nil {
		return Record{}, err
	}
	if r.Key == cluster.ReportKey(s.self) {
		s.reported = true
	}
	s.take(r)
	if !s.joined && cluster.Persistent(r.Key) {
		s.alone[r.Key] = r.Version
	}
	s.wake(r.Key)
	return r, nil
}

// take merges one record and moves the clocks along. It tells whether that is a change.
func (s *Store) take(r Record) bool {
	s.clock = max(s.clock, r.Version.Counter)
	if !s.set.merge(r) {
		return false
	}
	if cluster.Persistent(r.Key) {
		s.kept = max(s.kept, r.Version.Counter)
		s.durable = min(s.durable, r.Version.Counter-1)
		s.changes++
	}
	s.acks.clip(r.Version.Counter)
	if r.Deleted && r.Key == cluster.NodeKey(s.self) || !r.Deleted && r.Key == cluster.RemovedKey(s.self) {
		s.expel()
	}
	return true
}

// Digest returns the digest of everything held.
func (s *Store) Digest() Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Digest{Horizon: s.horizon, Sum: s.set.total}
}

// Snapshot returns what belongs on disk. It is the same as before as long as no persistent record changes,
// however many reports come by.
func (s *Store) Snapshot() Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	snapshot := Snapshot{
		Clock: s.kept, Horizon: s.horizon, Joined: s.joined, Since: s.since, changes: s.changes,
		Records: s.set.list(func(r Record) bool { return cluster.Persistent(r.Key) }),
	}
	if s.member && len(s.alone) == 0 {
		// It has written nothing yet that a restart would have to know of, and so leaves the disk as it is.
		snapshot.Joined, snapshot.Since = true, 0
	}
	return snapshot
}

// Saved tells the store that this snapshot is safe on disk. Until then the node acknowledges none of it, and
// tombstones that wait for its acknowledgement stay. It does nothing if the store has changed meanwhile: then
// another save is due anyway, which the watch of the saver says.
func (s *Store) Saved(saved Snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if saved.changes == s.changes {
		s.durable = s.kept
	}
}

// watch is one subscriber.
type watch struct {
	match func(key string) bool
	dirty chan struct{}
}

// Watch returns a channel of capacity one that is filled whenever a record changes whose key matches, or the
// horizon moves. A nil match matches all keys; Kinds and cluster.Persistent are others. The channel only says
// "look again": many changes may be one wake-up. Cancel ends the subscription and leaves the channel open.
func (s *Store) Watch(match func(key string) bool) (dirty <-chan struct{}, cancel func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := watch{match: match, dirty: make(chan struct{}, 1)}
	id := s.nextID
	s.nextID++
	s.watches[id] = w
	return w.dirty, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watches, id)
	}
}

// Kinds returns a match for the keys of those kinds.
func Kinds(kinds ...string) func(key string) bool {
	return func(key string) bool {
		kind, _ := cluster.SplitKey(key)
		for _, k := range kinds {
			if k == kind {
				return true
			}
		}
		return false
	}
}

// wake fills the channels of those who watch one of the keys.
func (s *Store) wake(keys ...string) {
	for w := range maps.Values(s.watches) {
		for _, key := range keys {
			if w.match == nil || w.match(key) {
				w.fill()
				break
			}
		}
	}
}

// wakeAll fills every channel, after a change that belongs to no key.
func (s *Store) wakeAll() {
	for w := range maps.Values(s.watches) {
		w.fill()
	}
}

func (w watch) fill() {
	select {
	case w.dirty <- struct{}{}:
	default: // It is full: the subscriber will look anyway.
	}
}
