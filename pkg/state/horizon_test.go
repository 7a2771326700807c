package state

import (
	"fmt"
	"reflect"
	"testing"
)

// shelf makes stores that know, equal and have saved one another.
func shelf(t *testing.T, ids ...string) []*Store {
	t.Helper()
	var all []*Store
	for _, id := range ids {
		s := fresh(t, id)
		put(t, s, "node/"+id, "{}")
		all = append(all, s)
	}
	settle(t, all...)
	return all
}

// settle lets each meet each often enough for everybody to know that everybody knows, saving all the time.
func settle(t *testing.T, all ...*Store) {
	t.Helper()
	for range 3 {
		for _, a := range all {
			for _, b := range all {
				if a != b {
					meet(t, a, b)
				}
			}
			for _, s := range all {
				save(s)
			}
		}
	}
	for _, s := range all[1:] {
		mustEqual(t, all[0], s)
	}
}

func tombstones(s *Store) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.set.list(func(r Record) bool { return r.Deleted }))
}

func mustPurge(t *testing.T, s *Store) {
	t.Helper()
	if purged := s.RaiseHorizon(); len(purged) == 0 || tombstones(s) > 0 {
		t.Fatalf("%s purged %v, acks %v, durable %d, holds %v", s.self, purged, s.acks, s.durable, everything(s))
	}
}

func mustKeepTombstones(t *testing.T, s *Store, why string) {
	t.Helper()
	if purged := s.RaiseHorizon(); len(purged) > 0 {
		t.Fatalf("%s purged %v, though %s", s.self, purged, why)
	}
}

func TestTombstoneGoesWhenAllHaveIt(t *testing.T) {
	all := shelf(t, "a", "b", "c")
	a, b, c := all[0], all[1], all[2]
	put(t, a, "service/x", "1")
	settle(t, all...)
	remove(t, b, "service/x")
	meet(t, a, b)
	save(a)
	meet(t, a, b)
	mustKeepTombstones(t, a, "b has not saved it and c has not seen it")
	save(b)
	meet(t, a, b)
	mustKeepTombstones(t, a, "c has not seen it")
	meet(t, a, c)
	save(c)
	meet(t, a, c)
	mustPurge(t, a)
	settle(t, all...)
	for _, s := range all {
		if tombstones(s) != 0 || has(s, "service/x") {
			t.Fatalf("%s holds %v", s.self, everything(s))
		}
	}
	if purged := a.RaiseHorizon(); purged != nil {
		t.Fatalf("nothing to purge, and yet: %v", purged)
	}
}

// Once a report has changed since, its version is great and it does not keep the horizon back, even though it
// is never the same on two nodes.
func TestBusyReportsDoNotHoldTheHorizon(t *testing.T) {
	all := shelf(t, "a", "b")
	a, b := all[0], all[1]
	put(t, a, "service/x", "1")
	settle(t, all...)
	remove(t, a, "service/x")
	for i := range 4 {
		put(t, a, "report/a", fmt.Sprint(i))
		put(t, b, "report/b", fmt.Sprint(i))
		// b's report changes while the exchange is on its way, every time.
		_, err := a.Exchange(func(m Message) (Message, error) {
			put(t, b, "report/b", fmt.Sprint(i, `0`)[:1])
			reply, _, err := b.Receive(m)
			return reply, err
		})
		if err != nil {
			t.Fatal(err)
		}
		save(a)
		save(b)
	}
	mustPurge(t, a)
}

func TestNodeThatIsDownHoldsTheHorizonUntilForgotten(t *testing.T) {
	all := shelf(t, "a", "b", "c")
	put(t, all[0], "service/x", "1")
	settle(t, all...)
	remove(t, all[0], "service/x")
	settle(t, all[:2]...)
	mustKeepTombstones(t, all[0], "c is down but known")
	remove(t, all[0], "node/c")
	settle(t, all[:2]...)
	mustPurge(t, all[0])
}

// A node from the drawer that was forgotten brings nothing back: not by opening an exchange, not by being met,
// not by an event, and neither does the peer that it met first.
func TestNodeFromTheDrawerResurrectsNothing(t *testing.T) {
	for _, way := range []string{"opens", "is met", "sends an event", "offers", "through a stale friend"} {
		t.Run(way, func(t *testing.T) {
			all := shelf(t, "a", "b", "c", "d")
			a, b, c, d := all[0], all[1], all[2], all[3]
			put(t, c, "service/x", "1")
			put(t, a, "service/kept", "1")
			settle(t, all...)
			disk := save(c)
			for _, key := range []string{"service/x", "node/c", "node/d"} {
				remove(t, a, key)
			}
			settle(t, a, b)
			mustPurge(t, a)
			settle(t, a, b)
			c = restart(t, c, disk)
			switch way {
			case "opens":
				meet(t, c, b)
			case "is met":
				meet(t, b, c)
			case "sends an event":
				o, err := b.Merge(c.Delta("service/x", "service/kept"))
				if err != nil || len(o.Refused) != 1 {
					t.Fatalf("refused %v, %v", o.Refused, err)
				}
			case "offers":
				if _, o, err := b.Receive(c.Offer("service/x")); err != nil || len(o.Refused) != 1 {
					t.Fatalf("refused %v, %v", o.Refused, err)
				}
			case "through a stale friend":
				put(t, c, "node/c", "{}")
				meet(t, c, d)
				meet(t, d, b)
				meet(t, c, d)
			}
			if has(b, "service/x") {
				t.Fatal("b has service/x back")
			}
			settle(t, a, b, c, d)
			for _, s := range []*Store{a, b, c, d} {
				if has(s, "service/x") || !has(s, "service/kept") {
					t.Fatalf("%s holds %v", s.self, everything(s))
				}
			}
		})
	}
}

// With the guard off the same story ends badly, so the test above tests something.
func TestNodeFromTheDrawerWithoutTheGuard(t *testing.T) {
	all := shelf(t, "a", "b", "c")
	a, b, c := all[0], all[1], all[2]
	a.trusting, b.trusting, c.trusting = true, true, true
	put(t, c, "service/x", "1")
	settle(t, all...)
	remove(t, a, "service/x")
	remove(t, a, "node/c")
	settle(t, a, b)
	mustPurge(t, a)
	settle(t, a, b)
	meet(t, c, b)
	if !has(b, "service/x") {
		t.Fatal("even without the guard nothing came back: the tests of the guard prove nothing")
	}
}

// What a forgotten node wrote beyond the horizon is newer than anything purged, and stays.
func TestForgottenNodeKeepsWhatItWroteLater(t *testing.T) {
	all := shelf(t, "a", "b", "c")
	a, b, c := all[0], all[1], all[2]
	put(t, a, "service/x", "1")
	settle(t, all...)
	remove(t, a, "service/x")
	remove(t, a, "node/c")
	settle(t, a, b)
	mustPurge(t, a)
	for i := range 20 {
		put(t, c, "service/late", fmt.Sprint(i))
	}
	meet(t, c, a)
	mustEqual(t, a, c)
	if r, _ := a.Get("service/late"); string(r.Value) != "19" || has(a, "service/x") {
		t.Fatalf("a holds %v", everything(a))
	}
}

// A new Pi takes the user's command before it has met anyone. Its counters are small, its records are not old.
func TestNewNodeLosesNothingItWroteAlone(t *testing.T) {
	for _, opens := range []bool{true, false} {
		all := shelf(t, "a", "b")
		a, b := all[0], all[1]
		for i := range 20 {
			put(t, a, "service/x", fmt.Sprint(i))
		}
		remove(t, a, "service/x")
		settle(t, all...)
		mustPurge(t, a)
		settle(t, all...)
		n := fresh(t, "new")
		put(t, n, "node/new", "{}")
		put(t, n, "service/first", `"mine"`)
		n = restart(t, n, save(n))
		var o Outcome
		if opens {
			o, _ = meet(t, n, b)
		} else {
			_, o = meet(t, b, n)
		}
		if len(o.Spread) != 2 || len(o.Dropped) != 0 {
			t.Fatalf("spread %v, dropped %v", o.Spread, o.Dropped)
		}
		mustEqual(t, n, b)
		if !has(b, "service/first") || !has(b, "node/new") || n.horizon != b.horizon {
			t.Fatalf("b holds %v", everything(b))
		}
		save(b)
		meet(t, n, b)
		if !n.Snapshot().Joined {
			t.Fatal("the new node does not count itself joined")
		}
	}
}

// The leader's agreement with b is from before b heard of the new node, and the leader has still not heard of it
// when it raises the horizon.
func TestNewMemberLosesNothingToAnOlderAgreement(t *testing.T) {
	all := shelf(t, "a", "b")
	a, b := all[0], all[1]
	for i := range 20 {
		put(t, a, "service/x", fmt.Sprint(i))
	}
	remove(t, a, "service/x")
	settle(t, all...)
	n := fresh(t, "new")
	put(t, n, "node/new", "{}")
	put(t, n, "service/first", `"mine"`)
	meet(t, n, b)
	save(b)
	meet(t, n, b)
	if !n.Snapshot().Joined {
		t.Fatal("the new node has not joined")
	}
	mustPurge(t, a)
	if o, _ := meet(t, n, a); len(o.Dropped) > 0 {
		t.Fatalf("dropped %v", o.Dropped)
	}
	mustEqual(t, a, n)
	if !has(a, "node/new") || !has(a, "service/first") {
		t.Fatalf("a holds %v", everything(a))
	}
}

// The leader has seen in b's list that b knows a node that it has not heard of itself, and no more: the records
// were lost on the way. It must not take b's word beyond that node's record.
func TestNoAgreementBeyondWhatTheLeaderLacks(t *testing.T) {
	all := shelf(t, "a", "b")
	a, b := all[0], all[1]
	put(t, a, "service/x", "1")
	settle(t, all...)
	n := fresh(t, "new")
	put(t, n, "node/new", "{}")
	meet(t, n, b)
	save(b)
	meet(t, n, b)
	save(b)
	remove(t, a, "service/x")
	save(a)
	if _, err := b.Merge(a.Delta("service/x")); err != nil {
		t.Fatal(err)
	}
	save(b)
	reply, _, err := b.Receive(a.Summary())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Receive(reply); err != nil {
		t.Fatal(err)
	}
	mustKeepTombstones(t, a, "b knows somebody whom a does not")
}

// A node that knows less than its peer does not know who is known, and could raise a horizon over them.
func TestNoOneJoinsWithoutKnowingTheOthers(t *testing.T) {
	all := shelf(t, "a", "b")
	n := fresh(t, "new")
	put(t, n, "node/new", "{}")
	if _, err := all[1].Merge(n.Delta("node/new")); err != nil {
		t.Fatal(err)
	}
	save(all[1])
	reply, _, err := all[1].Receive(n.Summary())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := n.Receive(reply); err != nil {
		t.Fatal(err)
	}
	if n.Snapshot().Joined {
		t.Fatalf("joined, holding only %v", everything(n))
	}
	remove(t, n, "node/new")
	put(t, n, "node/new", "{}")
	put(t, n, "service/x", "1")
	remove(t, n, "service/x")
	save(n)
	mustKeepTombstones(t, n, "it is a stranger")
}

// What arrived while a save was under way is not in it.
func TestSavedSaysNothingOfWhatCameMeanwhile(t *testing.T) {
	all := shelf(t, "a", "b")
	a, b := all[0], all[1]
	late := put(t, b, "service/late", "1")
	for i := range 20 {
		put(t, a, "plan/x", fmt.Sprint(i))
	}
	underWay := a.Snapshot()
	meet(t, a, b)
	a.Saved(underWay)
	if d := a.Summary().Durable; d >= late.Version.Counter {
		t.Fatalf("a vouches for %d, but %v is not on its disk", d, late.Version)
	}
	save(a)
	if d := a.Summary().Durable; d < late.Version.Counter {
		t.Fatalf("a vouches for %d only after saving all", d)
	}
}

func TestLeaderWaitsForItsOwnDisk(t *testing.T) {
	all := shelf(t, "a", "b")
	a, b := all[0], all[1]
	put(t, a, "service/x", "1")
	settle(t, all...)
	remove(t, a, "service/x")
	meet(t, a, b)
	save(b)
	meet(t, a, b)
	mustKeepTombstones(t, a, "a has not saved it")
	save(a)
	mustPurge(t, a)
}

// A snapshot whose horizon is beyond its clock would not load.
func TestClockOnDiskFollowsTheHorizon(t *testing.T) {
	all := shelf(t, "a", "b")
	put(t, all[0], "service/x", "1")
	remove(t, all[0], "service/x")
	settle(t, all...)
	mustPurge(t, all[0])
	n := fresh(t, "new")
	meet(t, n, all[0])
	again := restart(t, n, save(n))
	mustEqual(t, again, all[0])
}

// A forgotten node that is back is as much a stranger as a new one: until the leader has heard of it, the horizon
// may pass over what it writes.
func TestForgottenNodeIsAStrangerUntilItHasJoined(t *testing.T) {
	all := shelf(t, "a", "b", "c")
	a, b, c := all[0], all[1], all[2]
	put(t, c, "service/old", "1")
	put(t, c, "service/x", "1")
	settle(t, all...)
	remove(t, a, "service/old")
	remove(t, a, "node/c")
	settle(t, a, b)
	mustPurge(t, a)
	meet(t, c, a)
	if snap := c.Snapshot(); snap.Joined || has(c, "node/c") || has(c, "service/old") {
		t.Fatalf("c does not know that it was forgotten: %v", everything(c))
	}
	put(t, c, "node/c", "{}")
	put(t, c, "service/again", "1")
	for i := range 20 {
		put(t, a, "plan/x", fmt.Sprint(i))
	}
	remove(t, a, "service/x")
	settle(t, a, b)
	mustPurge(t, a)
	c = restart(t, c, save(c))
	meet(t, c, a)
	mustEqual(t, a, c)
	if !has(a, "node/c") || !has(a, "service/again") || has(a, "service/x") || has(a, "service/old") {
		t.Fatalf("a holds %v", everything(a))
	}
	settle(t, all[0], b, c)
	if !c.Snapshot().Joined {
		t.Fatal("c has not joined again")
	}
}

// A node that was cut off, not forgotten, may write all it likes under its low clock.
func TestKnownNodeLosesNothingItWroteAlone(t *testing.T) {
	all := shelf(t, "a", "b", "c")
	a, b, c := all[0], all[1], all[2]
	put(t, a, "service/x", "1")
	settle(t, all...)
	save(c)
	for i := range 30 {
		put(t, a, "plan/x", fmt.Sprint(i))
	}
	remove(t, a, "service/x")
	settle(t, a, b)
	put(t, c, "service/alone", "1")
	mustKeepTombstones(t, a, "c is away")
	meet(t, c, b)
	save(c)
	meet(t, c, a)
	meet(t, a, c)
	settle(t, a, c)
	mustKeepTombstones(t, a, "b's agreement is from before service/alone came with its small counter")
	settle(t, a, b, c)
	mustPurge(t, a)
	settle(t, a, b, c)
	if !has(a, "service/alone") || !has(b, "service/alone") || !has(c, "service/alone") {
		t.Fatal("service/alone is lost")
	}
}

// The agreement with b is of a time when the leader had not the tombstone yet, whose counter is lower. It must
// not count for it: b still holds the record.
func TestLateTombstoneLowersAgreements(t *testing.T) {
	all := shelf(t, "a", "b", "c")
	a, b, c := all[0], all[1], all[2]
	put(t, a, "service/x", "1")
	settle(t, all...)
	remove(t, c, "service/x") // With c's low clock.
	save(c)
	for i := range 30 {
		put(t, a, "plan/x", fmt.Sprint(i))
	}
	settle(t, a, b)
	meet(t, a, c)
	save(c)
	save(a)
	meet(t, a, c)
	mustKeepTombstones(t, a, "b has not seen it")
	meet(t, a, b)
	mustKeepTombstones(t, a, "b has not saved it")
	save(b)
	meet(t, a, b)
	mustPurge(t, a)
}

// A node that comes up with the new horizon and no reports must not make others give up theirs: the routes to
// running tasks are made of them.
func TestHorizonTakesNoReports(t *testing.T) {
	all := shelf(t, "a", "b", "c")
	a, b, c := all[0], all[1], all[2]
	for _, s := range all {
		put(t, s, "report/"+s.self, "{}")
	}
	put(t, a, "service/x", "1")
	settle(t, all...)
	remove(t, a, "service/x")
	settle(t, all...)
	mustPurge(t, a)
	meet(t, b, a)
	b = restart(t, b, save(b))
	if len(b.List("report/")) != 0 {
		t.Fatal("reports came from disk")
	}
	meet(t, c, b)
	if got := c.List("report/"); len(got) != 3 {
		t.Fatalf("c is left with %v", got)
	}
	mustEqual(t, b, c)
}

// A stale node takes over the horizon only with all that its peer holds, for from then on its own lack of a
// record makes others give that record up.
func TestHorizonComesLast(t *testing.T) {
	all := shelf(t, "a", "b", "c")
	a, b, c := all[0], all[1], all[2]
	put(t, a, "service/x", "1")
	settle(t, all...)
	disk := save(c)
	remove(t, a, "service/x")
	put(t, a, "service/y", "1")
	remove(t, a, "node/c")
	settle(t, a, b)
	mustPurge(t, a)
	c = restart(t, c, disk)
	lost := fmt.Errorf("lost")
	steps := 0
	_, err := c.Exchange(func(m Message) (Message, error) {
		if steps++; steps > 1 {
			return Message{}, lost
		}
		reply, _, err := a.Receive(m)
		return reply, err
	})
	if err != lost {
		t.Fatal(err)
	}
	if has(c, "service/x") || c.horizon != 0 {
		t.Fatalf("horizon %d without service/y, holding %v", c.horizon, everything(c))
	}
	meet(t, c, a)
	mustEqual(t, a, c)
}

func TestTwoLeaders(t *testing.T) {
	all := shelf(t, "a", "b", "c")
	a, b, c := all[0], all[1], all[2]
	put(t, a, "service/x", "1")
	put(t, a, "service/y", "1")
	settle(t, all...)
	remove(t, a, "service/x")
	settle(t, all...)
	mustPurge(t, a)
	// Cut off from a, c takes itself for the leader. It has b's newer tombstone besides, which a has not seen.
	remove(t, b, "service/y")
	settle(t, b, c)
	if purged := c.RaiseHorizon(); len(purged) != 1 || purged[0].Key != "service/x" {
		t.Fatalf("c purged %v", purged)
	}
	settle(t, all...)
	mustPurge(t, b)
	settle(t, all...)
	if tombstones(a) != 0 || has(a, "service/x") || has(a, "service/y") {
		t.Fatalf("a holds %v", everything(a))
	}
}

func TestSnapshotRoundTrip(t *testing.T) {
	all := shelf(t, "a", "b")
	put(t, all[0], "service/x", "1")
	put(t, all[0], "service/y", "1")
	remove(t, all[0], "service/y")
	settle(t, all...)
	snap := all[0].Snapshot()
	got, err := DecodeSnapshot(snap.Encode())
	snap.changes = 0
	if err != nil || !reflect.DeepEqual(got, snap) {
		t.Fatalf("%v\nbecame\n%v, %v", snap, got, err)
	}
	again := restart(t, all[0], got)
	mustEqual(t, again, all[1])
	if next := put(t, again, "service/z", "1"); next.Version.Counter <= snap.Clock {
		t.Fatalf("the clock went back to %v from %d", next.Version, snap.Clock)
	}
}

// A card put back to an older copy lets a node give out counters that the leader takes for agreed. What it writes before
// it meets anyone must not be lost in the horizon, be it raised before that or after.
func TestOldCopyOfADiskLosesNothingWrittenSince(t *testing.T) {
	for _, raised := range []bool{true, false} {
		all := shelf(t, "a", "b", "c")
		a, b, c := all[0], all[1], all[2]
		put(t, a, "service/x", "1")
		settle(t, all...)
		old := save(c)
		for i := range 30 {
			put(t, a, "plan/x", fmt.Sprint(i))
		}
		remove(t, a, "service/x")
		settle(t, all...)
		if raised {
			mustPurge(t, a)
			settle(t, a, b)
		}
		c = restart(t, c, old)
		put(t, c, "service/new", "1")
		c = restart(t, c, save(c))
		meet(t, c, b)
		if !raised {
			mustPurge(t, a) // a knows of c only what it said in its former life
		}
		settle(t, a, b, c)
		if !has(a, "service/new") || has(a, "service/x") {
			t.Fatalf("raised before %t: a holds %v", raised, everything(a))
		}
	}
}

// What a node has written in a former life and learns back from its peers is no news, and needs no new version.
func TestOldCopyOfADiskWritesNothingAnewThatOthersHold(t *testing.T) {
	all := shelf(t, "a", "b")
	a, b := all[0], all[1]
	old := save(b)
	r := put(t, b, "service/x", "1")
	settle(t, all...)
	b = restart(t, b, old)
	if o, _ := meet(t, b, a); len(o.Spread) > 0 || !b.joined {
		t.Fatalf("wrote %v anew, joined %t", o.Spread, b.joined)
	}
	if again, _ := b.Get("service/x"); again.Version != r.Version {
		t.Fatalf("holds %v", again)
	}
}

// An agent that restarts, meets the others and has nothing to say writes nothing to its card.
func TestRestartOfAMemberLeavesTheDiskAlone(t *testing.T) {
	all := shelf(t, "a", "b")
	b := all[1]
	disk := save(b)
	b = restart(t, b, disk)
	if !reflect.DeepEqual(b.Snapshot().Encode(), disk.Encode()) {
		t.Fatal("the restart alone changed what goes to disk")
	}
	meet(t, b, all[0])
	if !b.joined || !reflect.DeepEqual(b.Snapshot().Encode(), disk.Encode()) {
		t.Fatalf("joined %t; meeting a peer that holds the same changed what goes to disk", b.joined)
	}
}

// A node that leaves removes its report, and the tombstone goes; then a packet from before comes late. It is no reason
// to refuse all else that its sender says.
func TestLateReportOfANodeThatHasRemovedIt(t *testing.T) {
	all := shelf(t, "a", "b")
	a, b := all[0], all[1]
	put(t, a, "report/a", "1")
	settle(t, all...)
	late := a.Delta("report/a")
	remove(t, a, "report/a")
	put(t, a, "plan/x", "1") // reports do not move the clock on the disk
	settle(t, all...)
	mustPurge(t, a)
	settle(t, all...)
	late.Horizon = a.horizon
	late.Records = append(late.Records, put(t, b, "service/x", "1"))
	if _, err := a.Merge(late); err != nil || !has(a, "service/x") {
		t.Fatalf("took %v, %v", everything(a), err)
	}
}

// Nobody waits for a node that was removed, though it says again and again that it is there; and it joins nobody who
// knows better.
func TestRemovedNodeHoldsNothingBack(t *testing.T) {
	all := shelf(t, "a", "b", "c")
	a, b, c := all[0], all[1], all[2]
	if !c.joined {
		t.Fatal("c is no member")
	}
	put(t, a, "service/x", "1")
	settle(t, all...)
	put(t, a, "removed/c", `{}`)
	remove(t, a, "node/c")
	settle(t, all...)
	if c.joined {
		t.Error("c knows that it was removed, and is a member")
	}
	put(t, c, "node/c", `{"again":1}`)
	settle(t, all...)
	if !has(a, "node/c") {
		t.Fatal("the test wants c's record to be back")
	}
	if c.joined {
		t.Error("c has joined again")
	}
	remove(t, a, "service/x")
	for range 3 { // without c
		meet(t, a, b)
		save(a)
		save(b)
	}
	mustPurge(t, a)
	if purged := c.RaiseHorizon(); len(purged) > 0 {
		t.Errorf("c, which was removed, purged %v", purged)
	}
	meet(t, c, a)
	if has(a, "service/x") {
		t.Error("the removed node brought the removed service back")
	}
}
