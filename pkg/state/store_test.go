package state

import (
	"errors"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/piswarm/piswarm/pkg/cluster"
)

func fresh(t *testing.T, id string) *Store {
	t.Helper()
	s, err := New(id, Snapshot{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Store, key, value string) Record {
	t.Helper()
	r, err := s.Put(key, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func remove(t *testing.T, s *Store, key string) Record {
	t.Helper()
	r, ok, err := s.Delete(key)
	if err != nil || !ok {
		t.Fatalf("delete %s: %v, %v", key, ok, err)
	}
	return r
}

// save does what the agent's disk does.
func save(s *Store) Snapshot {
	snap := s.Snapshot()
	s.Saved(snap)
	return snap
}

func restart(t *testing.T, s *Store, disk Snapshot) *Store {
	t.Helper()
	again, err := New(s.Self(), disk)
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// meet lets a open an exchange with b, by way of the wire form.
func meet(t *testing.T, a, b *Store) (ofA, ofB Outcome) {
	t.Helper()
	ofA, err := a.Exchange(func(m Message) (Message, error) {
		m, err := DecodeMessage(m.Encode())
		if err != nil {
			return Message{}, err
		}
		reply, o, err := b.Receive(m)
		if err != nil {
			return Message{}, err
		}
		ofB.add(o)
		return DecodeMessage(reply.Encode())
	})
	if err != nil {
		t.Fatal(err)
	}
	return ofA, ofB
}

func mustEqual(t *testing.T, a, b *Store) {
	t.Helper()
	if a.Digest() != b.Digest() {
		t.Fatalf("%s and %s differ:\n%v\n%v", a.self, b.self, everything(a), everything(b))
	}
}

func everything(s *Store) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, r := range s.set.list(func(Record) bool { return true }) {
		line := r.Key + " " + r.Version.String() + " " + string(r.Value)
		if r.Deleted {
			line += "deleted"
		}
		out = append(out, line)
	}
	return out
}

func has(s *Store, key string) bool { _, ok := s.Get(key); return ok }

func TestPutGetDeleteList(t *testing.T) {
	s := fresh(t, "a")
	if has(s, "service/x") {
		t.Fatal("an empty store holds service/x")
	}
	value := []byte(`{"n":1}`)
	first, err := s.Put("service/x", value)
	if err != nil {
		t.Fatal(err)
	}
	value[0] = '!' // The store must not see what its caller does later.
	if got, ok := s.Get("service/x"); !ok || string(got.Value) != `{"n":1}` {
		t.Fatalf("got %v, %v", got, ok)
	}
	second := put(t, s, "service/w", "2")
	if second.Version.Compare(first.Version) <= 0 {
		t.Fatalf("%v is not after %v", second.Version, first.Version)
	}
	put(t, s, "plan/x", "3")
	if got := s.List("service/"); len(got) != 2 || got[0].Key != "service/w" || got[1].Key != "service/x" {
		t.Fatalf("list: %v", got)
	}
	remove(t, s, "service/x")
	if has(s, "service/x") || len(s.List("service/")) != 1 {
		t.Fatal("a deleted record is still there")
	}
	if _, ok, err := s.Delete("service/x"); ok || err != nil {
		t.Fatalf("deleted twice: %v, %v", ok, err)
	}
}

func TestPutIf(t *testing.T) {
	s := fresh(t, "a")
	first, err := s.PutIf("service/x", Version{}, []byte("1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutIf("service/x", Version{}, []byte("2")); !errors.Is(err, ErrConflict) {
		t.Fatalf("created twice: %v", err)
	}
	if _, err := s.PutIf("service/x", first.Version, []byte("2")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutIf("service/x", first.Version, []byte("3")); !errors.Is(err, ErrConflict) {
		t.Fatalf("an old version passes: %v", err)
	}
	remove(t, s, "service/x")
	if _, err := s.PutIf("service/x", Version{}, []byte("4")); err != nil {
		t.Fatalf("create after delete: %v", err)
	}
}

func TestPutIfOfManyLosesNoChange(t *testing.T) {
	s := fresh(t, "a")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				for {
					r, _ := s.Get("service/x")
					_, err := s.PutIf("service/x", r.Version, append([]byte("1"), r.Value...))
					if err == nil {
						break
					}
					if !errors.Is(err, ErrConflict) {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	if r, _ := s.Get("service/x"); len(r.Value) != 400 {
		t.Fatalf("%d of 400 changes are left", len(r.Value))
	}
}

func TestWatch(t *testing.T) {
	s := fresh(t, "a")
	all, cancelAll := s.Watch(nil)
	kept, _ := s.Watch(cluster.Persistent)
	plans, _ := s.Watch(Kinds(cluster.KindPlan, cluster.KindReport))
	woken := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	check := func(what string, wantAll, wantKept, wantPlans bool) {
		t.Helper()
		if a, k, p := woken(all), woken(kept), woken(plans); a != wantAll || k != wantKept || p != wantPlans {
			t.Fatalf("%s: woke all %v, persistent %v, plans and reports %v", what, a, k, p)
		}
	}
	check("nothing", false, false, false)
	put(t, s, "service/x", "1")
	put(t, s, "service/y", "1")
	check("services", true, true, false)
	put(t, s, "report/b", "1")
	check("report", true, false, true)
	if _, err := s.Merge(Delta{Records: []Record{{Key: "plan/x", Version: Version{9, "b"}, Value: []byte("1")}}}); err != nil {
		t.Fatal(err)
	}
	check("merged plan", true, true, true)
	if _, err := s.Merge(Delta{Records: []Record{{Key: "plan/x", Version: Version{2, "b"}, Value: []byte("1")}}}); err != nil {
		t.Fatal(err)
	}
	check("old plan", false, false, false)
	cancelAll()
	put(t, s, "plan/x", "2")
	check("after cancel", false, true, true)
}

// What is wrong is refused as a whole: the records before the wrong one stay outside too.
func TestNothingIsHalfMerged(t *testing.T) {
	good := Record{Key: "service/good", Version: Version{1, "b"}, Value: []byte("1")}
	with := func(change func(*Record)) Record {
		r := Record{Key: "service/bad", Version: Version{1, "b"}, Value: []byte("1")}
		change(&r)
		return r
	}
	for name, bad := range map[string]Record{
		"no kind":            with(func(r *Record) { r.Key = "bad" }),
		"empty name":         with(func(r *Record) { r.Key = "service/" }),
		"space in key":       with(func(r *Record) { r.Key = "service/a b" }),
		"control in key":     with(func(r *Record) { r.Key = "service/a\n" }),
		"long key":           with(func(r *Record) { r.Key = "service/" + strings.Repeat("a", MaxKey) }),
		"zero counter":       with(func(r *Record) { r.Version.Counter = 0 }),
		"counter at the end": with(func(r *Record) { r.Version.Counter = 1<<64 - 1 }),
		"counter far ahead":  with(func(r *Record) { r.Version.Counter = maxJump + 1 }),
		"no node":            with(func(r *Record) { r.Version.Node = "" }),
		"long node":          with(func(r *Record) { r.Version.Node = strings.Repeat("a", MaxNode+1) }),
		"not JSON":           with(func(r *Record) { r.Value = []byte("{") }),
		"no value":           with(func(r *Record) { r.Value = nil }),
		"large value":        with(func(r *Record) { r.Value = []byte(`"` + strings.Repeat("a", MaxValue) + `"`) }),
		"tombstone's value":  with(func(r *Record) { r.Deleted = true }),
	} {
		t.Run(name, func(t *testing.T) {
			s := fresh(t, "a")
			if _, err := s.Merge(Delta{Records: []Record{good, bad}}); err == nil {
				t.Error("the delta passes")
			}
			m := fresh(t, "b").Summary()
			m.Clock, m.Records = max(1, bad.Version.Counter), []Record{good, bad}
			if _, _, err := s.Receive(m); err == nil {
				t.Error("the message passes")
			}
			if got := everything(s); len(got) > 0 {
				t.Errorf("the store holds %v", got)
			}
			if s.clock != 0 {
				t.Errorf("the clock went to %d", s.clock)
			}
		})
	}
	unknown := Record{Key: "tomorrow/x", Version: Version{1, "b"}, Value: []byte("1")}
	if _, err := fresh(t, "a").Merge(Delta{Records: []Record{good, unknown}}); err != nil {
		t.Errorf("a kind of a newer release is refused: %v", err)
	}
}

func TestCounterNeverOverflows(t *testing.T) {
	s, err := New("a", Snapshot{Clock: MaxCounter - 1})
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "service/x", "1")
	if _, err := s.Put("service/y", []byte("1")); err == nil {
		t.Fatal("a counter beyond MaxCounter was given out")
	}
	if _, _, err := s.Delete("service/x"); err == nil || !has(s, "service/x") {
		t.Fatal("a delete that cannot get a counter must leave the record")
	}
}

// Reports change all the time; none of that may reach the disk.
func TestReportsLeaveTheSnapshotAlone(t *testing.T) {
	s := fresh(t, "a")
	put(t, s, "service/x", "1")
	before := s.Snapshot().Encode()
	put(t, s, "report/a", "1")
	put(t, s, "report/b", "1")
	remove(t, s, "report/b")
	if after := s.Snapshot().Encode(); !slices.Equal(before, after) {
		t.Fatal("a report changed what goes to disk")
	}
	put(t, s, "service/x", "2")
	if after := s.Snapshot().Encode(); slices.Equal(before, after) {
		t.Fatal("a service did not change what goes to disk")
	}
}

// A restarted node's report must win over the one of its former life, though its counter starts lower.
func TestRestartedNodeRepublishesItsReport(t *testing.T) {
	a, b := fresh(t, "a"), fresh(t, "b")
	put(t, a, "node/a", "{}")
	disk := save(a)
	for range 50 {
		put(t, a, "report/a", `"old"`)
	}
	meet(t, a, b)
	a = restart(t, a, disk)
	put(t, a, "report/a", `"new"`)
	o, _ := meet(t, a, b)
	mustEqual(t, a, b)
	if r, _ := b.Get("report/a"); string(r.Value) != `"new"` {
		t.Fatalf("b holds %s", r.Value)
	}
	if len(o.Spread) != 1 || o.Spread[0].Key != "report/a" {
		t.Fatalf("to spread: %v", o.Spread)
	}
	// The same when its life before gave the very same version to another content, and when others deleted it.
	disk = save(a)
	a = restart(t, a, disk)
	r, _ := b.Get("report/a")
	a.clock = r.Version.Counter - 1
	if got := put(t, a, "report/a", `"newer"`); got.Version != r.Version {
		t.Fatalf("the test wants equal versions, has %v and %v", got.Version, r.Version)
	}
	meet(t, b, a)
	mustEqual(t, a, b)
	remove(t, b, "report/a")
	meet(t, a, b)
	mustEqual(t, a, b)
	if r, _ := b.Get("report/a"); string(r.Value) != `"newer"` {
		t.Fatalf("b holds %s", r.Value)
	}
}

// A Pi's clock starts in 1970 and jumps by years. Nothing here may depend on it, so nothing here may know of it: not by
// package time, and not by a package that would ask for the time in its stead.
func TestNothingHereKnowsTheTime(t *testing.T) {
	allowed := []string{
		"bytes", "cmp", "compress/flate", "crypto/sha256", "encoding/binary", "encoding/hex", "encoding/json", "errors",
		"fmt", "io", "maps", "slices", "strings", "sync", "github.com/piswarm/piswarm/pkg/cluster",
	}
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range file.Imports {
			if path, err := strconv.Unquote(i.Path.Value); err != nil || !slices.Contains(allowed, path) {
				t.Errorf("%s imports %s", name, path)
			}
		}
	}
}

// A report is taken in only as its own node wrote it, by whichever way it comes; its deletion from anyone.
func TestNobodyReportsForAnother(t *testing.T) {
	forge := func(s *Store) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, key := range []string{"report/b", "report/c"} { // one that exists, and one that does not
			r := Record{Key: key, Version: Version{Counter: s.clock + 1, Node: s.self}, Value: []byte(`"forged"`)}
			s.take(r)
		}
	}
	a, b, bad := fresh(t, "a"), fresh(t, "b"), fresh(t, "bad")
	put(t, b, "report/b", `"true"`)
	put(t, bad, "report/bad", `"its own"`)
	meet(t, a, b)
	meet(t, bad, b)
	forge(bad)

	o, err := a.Merge(bad.Delta("report/b", "report/c", "report/bad"))
	if err != nil || len(o.Changed) != 1 || len(o.Refused) != 2 {
		t.Errorf("a delta: %+v, %v", o, err)
	}
	if _, o, err := a.Receive(bad.Offer("report/b", "report/c")); err != nil || len(o.Changed) != 0 || len(o.Refused) != 2 {
		t.Errorf("an offer: %+v, %v", o, err)
	}
	meet(t, a, bad)
	meet(t, bad, a)
	for key, want := range map[string]string{"report/b": `"true"`, "report/bad": `"its own"`, "report/c": ""} {
		if r, _ := a.Get(key); string(r.Value) != want {
			t.Errorf("%s is %s, want %s", key, r.Value, want)
		}
	}
	// The answer to what a forger lists does not ask for it.
	answer, _, err := a.Receive(Message{From: "bad", Clock: bad.clock, Buckets: bad.set.buckets, Lists: bad.lists(a.set.buckets)})
	if err != nil || len(answer.Want) != 0 {
		t.Errorf("asks for %v, %v", answer.Want, err)
	}
	remove(t, a, "report/b")
	meet(t, a, bad)
	if has(bad, "report/b") {
		t.Error("the deletion of a report was refused")
	}
}
