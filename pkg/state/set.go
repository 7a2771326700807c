package state

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Buckets is the number of parts that the digest has, so that peers look only into those that differ.
const Buckets = 64

// Digest tells two states apart in constant size. Equal digests mean equal records, tombstones included, and
// an equal horizon.
type Digest struct {
	Horizon uint64
	Sum     [16]byte
}

func (d Digest) String() string { return fmt.Sprintf("%d:%s", d.Horizon, hex.EncodeToString(d.Sum[:])) }

// set is the bare map with its digests, which every change updates in constant time: the digest of a set is
// the exclusive or of its records' hashes.
type set struct {
	records map[string]held
	buckets [Buckets]uint64
	total   sum
}

type held struct {
	Record
	sum sum
}

func newSet() set { return set{records: make(map[string]held)} }

// bucketOf spreads the keys over the buckets (FNV-1a).
func bucketOf(key string) int {
	h := uint32(2166136261)
	for i := range len(key) {
		h = (h ^ uint32(key[i])) * 16777619
	}
	return int((h ^ h>>16) % Buckets)
}

// toggle adds a hash to the digests, or takes it out again.
func (s *set) toggle(key string, h sum) {
	s.buckets[bucketOf(key)] ^= short(h)
	for i := range s.total {
		s.total[i] ^= h[i]
	}
}

// short is the part of a hash that stands for it in buckets and lists.
func short(h sum) uint64 { return binary.BigEndian.Uint64(h[:8]) }

// merge keeps the winner of r and the record held, and tells whether that is a change. It is [Merge] of one
// point, and so has its laws.
func (s *set) merge(r Record) bool {
	old, ok := s.records[r.Key]
	if ok && !newer(r, old.Record) {
		return false
	}
	if ok {
		s.toggle(r.Key, old.sum)
	}
	h := sumOf(r)
	s.toggle(r.Key, h)
	s.records[r.Key] = held{r, h}
	return true
}

// drop forgets a key wholly, without a tombstone.
func (s *set) drop(key string) {
	if old, ok := s.records[key]; ok {
		s.toggle(key, old.sum)
		delete(s.records, key)
	}
}

// list returns the records that pass the filter, in order of their keys.
func (s *set) list(keep func(Record) bool) []Record {
	var out []Record
	for _, h := range s.records {
		if keep(h.Record) {
			out = append(out, h.Record)
		}
	}
	slices.SortFunc(out, func(a, b Record) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// byBucket returns all records, those of each bucket in order of their keys.
func (s *set) byBucket() [Buckets][]held {
	var out [Buckets][]held
	for key, h := range s.records {
		b := bucketOf(key)
		out[b] = append(out[b], h)
	}
	for _, records := range out {
		slices.SortFunc(records, func(a, b held) int { return strings.Compare(a.Key, b.Key) })
	}
	return out
}
