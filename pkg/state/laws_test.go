package state

import (
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strconv"
	"testing"
)

// seeds returns the seeds that a randomised test runs with: a few fixed ones, or, for a long run, as many as
// PISWARM_SEEDS says, from PISWARM_SEED on.
func seeds(t *testing.T, usual int) []uint64 {
	t.Helper()
	number := func(name string, fallback int) int {
		s := os.Getenv(name)
		if s == "" {
			return fallback
		}
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("%s=%q: %v", name, s, err)
		}
		return n
	}
	first := number("PISWARM_SEED", 1)
	var out []uint64
	for i := range number("PISWARM_SEEDS", usual) {
		out = append(out, uint64(first+i))
	}
	return out
}

func random(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x5eed)) }

// arbitrary makes records from so few parts that equal keys, equal versions and equal versions with different
// content all are frequent.
func arbitrary(rng *rand.Rand) Record {
	kinds := []string{"service", "node", "report", "later"}
	r := Record{
		Key:     fmt.Sprintf("%s/%d", kinds[rng.IntN(len(kinds))], rng.IntN(3)),
		Version: Version{Counter: 1 + rng.Uint64N(4), Node: string(rune('a' + rng.IntN(3)))},
		Deleted: rng.IntN(3) == 0,
	}
	if !r.Deleted {
		r.Value = []byte(strconv.Itoa(rng.IntN(3)))
	}
	return r
}

func TestMergeLaws(t *testing.T) {
	for _, seed := range seeds(t, 3) {
		rng := random(seed)
		for range 5000 {
			a, b, c := arbitrary(rng), arbitrary(rng), arbitrary(rng)
			b.Key, c.Key = a.Key, a.Key
			if got := Merge(a, a); !reflect.DeepEqual(got, a) {
				t.Fatalf("seed %d: not idempotent: %v ∨ itself = %v", seed, a, got)
			}
			if ab, ba := Merge(a, b), Merge(b, a); !reflect.DeepEqual(ab, ba) {
				t.Fatalf("seed %d: not commutative: %v ∨ %v = %v, the other way %v", seed, a, b, ab, ba)
			}
			left, right := Merge(Merge(a, b), c), Merge(a, Merge(b, c))
			if !reflect.DeepEqual(left, right) {
				t.Fatalf("seed %d: not associative: %v, %v, %v give %v and %v", seed, a, b, c, left, right)
			}
			if v := Merge(a, b).Version; v.Compare(a.Version) < 0 || v.Compare(b.Version) < 0 {
				t.Fatalf("seed %d: an older version wins: %v ∨ %v has %v", seed, a, b, v)
			}
		}
	}
}

// The same records in any order, some of them twice, make the same set with the same digests, and the digests
// that each change updates are those of a set made from scratch.
func TestSetDependsOnNoOrder(t *testing.T) {
	for _, seed := range seeds(t, 3) {
		rng := random(seed)
		for range 300 {
			records := make([]Record, rng.IntN(40))
			for i := range records {
				records[i] = arbitrary(rng)
			}
			one, two := newSet(), newSet()
			for _, r := range records {
				one.merge(r)
			}
			for _, i := range append(rng.Perm(len(records)), rng.Perm(len(records))...) {
				two.merge(records[i])
			}
			if !reflect.DeepEqual(one, two) {
				t.Fatalf("seed %d: %v in two orders make\n%v\n%v", seed, records, one, two)
			}
			fresh := newSet()
			all := one.list(func(Record) bool { return true })
			for _, r := range all {
				fresh.merge(r)
			}
			if fresh.total != one.total || fresh.buckets != one.buckets {
				t.Fatalf("seed %d: digests differ from those made from scratch", seed)
			}
			for _, r := range all {
				one.drop(r.Key)
			}
			if one.total != (sum{}) || one.buckets != [Buckets]uint64{} {
				t.Fatalf("seed %d: the digests of an emptied set are not those of an empty one", seed)
			}
		}
	}
}

// A digest that missed a part of a record would leave a difference for ever.
func TestDigestCoversEverything(t *testing.T) {
	base := Record{Key: "service/a", Version: Version{3, "n"}, Value: []byte("1")}
	for name, change := range map[string]func(*Record){
		"key":     func(r *Record) { r.Key = "service/b" },
		"counter": func(r *Record) { r.Version.Counter++ },
		"node":    func(r *Record) { r.Version.Node = "m" },
		"value":   func(r *Record) { r.Value = []byte("2") },
		"deleted": func(r *Record) { r.Deleted, r.Value = true, nil },
	} {
		other := base
		change(&other)
		if sumOf(base) == sumOf(other) {
			t.Errorf("a changed %s leaves the hash as it was", name)
		}
	}
}
