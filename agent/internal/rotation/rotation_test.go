package rotation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/agent/internal/trust"
)

// node is one that forgets nothing but what it reserved when it is switched off.
type node struct {
	id       string
	keys     trust.Keyring
	up       bool
	deaf     bool // answers nobody, and is ready all the same
	receiver *Receiver
}

// shelf is a cluster whose connections are what package trust's certificates allow.
type shelf struct {
	nodes []*node
	mu    sync.Mutex
	calls int
	// at the call of that number, crash happens, before or after it has taken effect.
	at     int
	late   bool
	crash  func()
	former []string // what Settle was told
	settle error
}

func newShelf(n int) *shelf {
	s := &shelf{}
	secret := trust.NewSecret()
	for i := range n {
		s.nodes = append(s.nodes, &node{id: string(rune('a' + i)), keys: trust.Keyring{Primary: secret}})
		s.boot(i)
	}
	return s
}

// boot switches a node on: what it reserved is forgotten, what it has on disk is not.
func (s *shelf) boot(i int) {
	n := s.nodes[i]
	n.up = true
	n.receiver = &Receiver{
		Change: func(turn func(trust.Keyring) (trust.Keyring, error)) (trust.Keyring, error) {
			k, err := turn(n.keys)
			if err == nil {
				n.keys = k
			}
			return k, err
		},
		Ready: func(id string) bool { other := s.get(id); return other.up && gossips(other, n) },
	}
}

func (s *shelf) get(id string) *node {
	return s.nodes[slices.IndexFunc(s.nodes, func(n *node) bool { return n.id == id })]
}

// calls tells whether from can call to: it accepts what to shows, and has something that to accepts.
func calls(from, to *node) bool {
	return from.keys.Accepts(to.keys.Primary) && slices.ContainsFunc(from.keys.Secrets(), to.keys.Accepts)
}

// gossips tells whether both understand what the other encrypts.
func gossips(a, b *node) bool {
	return a.keys.Accepts(b.keys.Primary) && b.keys.Accepts(a.keys.Primary)
}

var errSilent = errors.New("no answer")

func (s *shelf) driver(self string) *Driver {
	me := s.get(self)
	list := func(ready bool) func() []Node {
		return func() []Node {
			s.mu.Lock()
			defer s.mu.Unlock()
			var all []Node
			for _, n := range s.nodes {
				if (n.up && gossips(n, me)) == ready {
					all = append(all, Node{ID: n.id, Name: "pi-" + n.id})
				}
			}
			return all
		}
	}
	began := me.receiver // another life does not go on with it
	dead := func() bool { return !me.up || me.receiver != began }
	return &Driver{
		Self: self, Ready: list(true), Away: list(false),
		Keys: func() trust.Keyring {
			s.mu.Lock()
			defer s.mu.Unlock()
			return me.keys
		},
		Send: func(_ context.Context, id string, step Step) (State, error) {
			to := s.get(id)
			s.mu.Lock() // one after the other, whichever goroutine comes first
			defer s.mu.Unlock()
			s.calls++
			now := s.calls == s.at
			if now && !s.late {
				s.crash()
			}
			heard := !dead() && to.up && !to.deaf && calls(me, to)
			var state State
			err := errSilent
			if heard {
				state, err = to.receiver.Take(self, step)
			}
			if now && s.late {
				s.crash()
			}
			if !heard {
				return State{}, errSilent
			}
			if dead() || !to.up {
				return State{}, errSilent
			}
			if err != nil {
				err = errors.Join(ErrRefused, err)
			}
			return state, err
		},
		Settle: func(_ context.Context, k trust.Keyring) error {
			if dead() {
				return errSilent
			}
			s.former = append(s.former, k.Other.ClusterID())
			return s.settle
		},
	}
}

// follow lets each that holds two secrets hear what the others go by, as the agent does.
func (s *shelf) follow() {
	for range 3 {
		for _, n := range s.nodes {
			for _, other := range s.nodes {
				if n != other && n.up && other.up && calls(n, other) {
					n.keys = Follow(n.keys, StateOf(other.keys))
				}
			}
		}
	}
}

// wantOne checks that all understand each other.
func (s *shelf) wantOne(t *testing.T, when string) {
	t.Helper()
	for _, a := range s.nodes {
		for _, b := range s.nodes {
			if !calls(a, b) || !gossips(a, b) {
				t.Errorf("%s: %s does not understand %s: %+v %+v", when, a.id, b.id, StateOf(a.keys), StateOf(b.keys))
			}
		}
	}
}

// wantAll checks that all go by one secret alone.
func (s *shelf) wantAll(t *testing.T, when string, secret trust.Secret) {
	t.Helper()
	for _, n := range s.nodes {
		if n.keys != (trust.Keyring{Primary: secret}) {
			t.Errorf("%s: %s holds %+v, want %s alone", when, n.id, StateOf(n.keys), secret.ClusterID())
		}
	}
}

// each runs a test in its own time for each call that something may happen at, before and after.
func each(t *testing.T, upTo int, test func(t *testing.T, at int, late bool)) {
	for at := 1; at <= upTo; at++ {
		for _, late := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) { test(t, at, late) })
		}
	}
}

func TestRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(1)
		r, err := s.driver("a").Rotate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.wantAll(t, "alone", r.Secret)
	})
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(4)
		before := s.nodes[0].keys.Primary
		r, err := s.driver("b").Rotate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r.Secret.Equal(before) || len(r.Changed) != 4 || len(r.Missing)+len(r.Behind) != 0 {
			t.Errorf("%+v", r)
		}
		s.wantAll(t, "at the end", r.Secret)
		if !slices.Equal(s.former, []string{before.ClusterID()}) {
			t.Errorf("settled with %v", s.former)
		}
		for _, n := range s.nodes {
			if driver := n.receiver.Driver(); driver != "" {
				t.Errorf("%s is still reserved for %s", n.id, driver)
			}
		}
	})
}

// The driver dies at any moment: all understand each other at once, also the driver when it is back, and the command
// run again, on any node, brings all to one new secret.
func TestDriverDiesAnywhere(t *testing.T) {
	const size = 3
	whole := 0
	each(t, 40, func(t *testing.T, at int, late bool) {
		s := newShelf(size)
		s.at, s.late = at, late
		s.crash = func() { s.get("a").up = false }
		before := s.nodes[0].keys.Primary
		_, err := s.driver("a").Rotate(t.Context())
		if err == nil {
			whole++
			return
		}
		what := fmt.Sprintf("dead at call %d, late %v", at, late)
		s.wantOne(t, what)
		s.boot(0)
		s.wantOne(t, what+", back")
		time.Sleep(2 * leaseTime)
		s.follow()
		s.wantOne(t, what+", followed")
		r, err := s.driver(s.nodes[at%size].id).Rotate(t.Context())
		if err != nil {
			t.Fatalf("%s: again: %v", what, err)
		}
		s.wantAll(t, what+", again", r.Secret)
		if r.Secret.Equal(before) {
			t.Errorf("%s: again: the old secret", what)
		}
	})
	if whole == 0 || whole == 80 {
		t.Errorf("%d of 80 went through: the test reaches not all of it, or nothing", whole)
	}
}

// Another node dies at any moment: the driver comes to an end all the same, and the node is one of the others when it
// is back, unless it was never given the secret; then the driver has said so.
func TestMemberDiesAnywhere(t *testing.T) {
	each(t, 40, func(t *testing.T, at int, late bool) {
		s := newShelf(3)
		s.at, s.late = at, late
		s.crash = func() { s.get("c").up = false }
		before := s.nodes[0].keys.Primary
		what := fmt.Sprintf("c dead at call %d, late %v", at, late)
		r, err := s.driver("a").Rotate(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		s.boot(2)
		s.follow()
		if slices.ContainsFunc(r.Missing, func(n Node) bool { return n.ID == "c" }) {
			// It may have been given it all the same, and not have lived to say so.
			if c := s.get("c").keys; c.Moving() || !c.Primary.Equal(r.Secret) && !c.Primary.Equal(before) {
				t.Errorf("%s: c holds %+v", what, StateOf(c))
			}
			return
		}
		s.wantOne(t, what)
		if got := s.get("c").keys; got != (trust.Keyring{Primary: r.Secret}) {
			t.Errorf("%s: c holds %+v", what, StateOf(got))
		}
	})
}

// A ready member that does not take the secret: nothing has changed, and the error names it.
func TestTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(4)
		before := s.nodes[0].keys.Primary
		s.at, s.crash = 5, func() { s.get("c").deaf = true } // all are reserved by then, and none has the secret
		_, err := s.driver("a").Rotate(t.Context())
		if err == nil || !strings.Contains(err.Error(), "stays as it is") || !strings.Contains(err.Error(), "pi-c") {
			t.Fatalf("got %v", err)
		}
		s.wantAll(t, "after it was taken back", before)
		s.get("c").deaf = false
		time.Sleep(leaseTime + time.Second) // it did not hear either that it is free again
		if r, err := s.driver("d").Rotate(t.Context()); err != nil {
			t.Errorf("another node finds it reserved: %v", err)
		} else {
			s.wantAll(t, "again", r.Secret)
		}
	})
}

// The same where one more came meanwhile, which nobody had reserved: it does not keep what was given up.
func TestTakenBackFromWhoCameMeanwhile(t *testing.T) {
	failed := 0
	each(t, 8, func(t *testing.T, at int, late bool) {
		s := newShelf(4)
		before := s.nodes[0].keys.Primary
		s.get("d").up = false
		s.at, s.late, s.crash = at, late, func() { s.boot(3); s.get("c").deaf = true }
		if _, err := s.driver("a").Rotate(t.Context()); err == nil || !strings.Contains(err.Error(), "stays as it is") {
			return // c fell silent when it was too late, or before it had a part in it
		}
		failed++
		s.wantAll(t, fmt.Sprintf("d on at call %d, late %v", at, late), before)
	})
	if failed < 4 {
		t.Errorf("the token stayed as it is %d times only", failed)
	}
}

// A ready member has the secret and does not say that it goes by it: the former one is not forgotten anywhere. If it has
// said so before it fell silent, it may be the last one to hold both.
func TestNotAllUseIt(t *testing.T) {
	for at := 9; at <= 13; at++ { // all have it by then; 13 is when all go by it
		synctest.Test(t, func(t *testing.T) {
			s := newShelf(4)
			s.at, s.crash = at, func() { s.get("c").deaf = true }
			r, err := s.driver("a").Rotate(t.Context())
			s.get("c").deaf = false
			if err == nil && at > 9 {
				if len(r.Behind) != 1 || r.Behind[0].ID != "c" {
					t.Errorf("deaf at call %d: behind are %v", at, r.Behind)
				}
				s.wantOne(t, "one behind")
				s.follow()
				s.wantAll(t, "followed", r.Secret)
				return
			}
			if err == nil || !strings.Contains(err.Error(), "unfinished") {
				t.Fatalf("deaf at call %d: %v", at, err)
			}
			s.wantOne(t, "unfinished")
			time.Sleep(leaseTime + time.Second)
			if r, err := s.driver("b").Rotate(t.Context()); err != nil {
				t.Error(err)
			} else {
				s.wantAll(t, "again", r.Secret)
			}
		})
	}
}

// What the cluster holds could not be made fit: the former secret holds on, and the next command goes on.
func TestSettleFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(3)
		s.settle = errors.New("no room")
		if _, err := s.driver("a").Rotate(t.Context()); err == nil || !strings.Contains(err.Error(), "unfinished") {
			t.Fatalf("got %v", err)
		}
		s.wantOne(t, "unfinished")
		first := s.nodes[0].keys
		if first.Coming || !first.Moving() {
			t.Errorf("a holds %+v", StateOf(first))
		}
		s.settle = nil
		r, err := s.driver("c").Rotate(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.wantAll(t, "again", r.Secret)
		if r.Secret.Equal(first.Primary) {
			t.Error("the half-finished secret is the cluster's: who has seen it may be why the command was run again")
		}
	})
}

// Of two at a time one wins, and the other is told who.
func TestTwoDrivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(3)
		type end struct {
			r   Result
			err error
		}
		var second end
		s.at, s.crash = 5, func() {
			s.at = 0
			s.mu.Unlock()
			second.r, second.err = s.driver("b").Rotate(t.Context())
			s.mu.Lock()
		}
		r, err := s.driver("a").Rotate(t.Context())
		if err != nil || second.err == nil {
			t.Fatalf("first %v, second %v", err, second.err)
		}
		if !strings.Contains(second.err.Error(), "node a is changing the token just now") {
			t.Errorf("second: %v", second.err)
		}
		s.wantAll(t, "at the end", r.Secret)
	})
}

// A node that is switched on in the middle, with the old secret, gets the new one while the old one holds.
func TestMemberComesMeanwhile(t *testing.T) {
	last := 0 // the call that is the last look for such nodes
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(4)
		s.get("d").up = false
		d := s.driver("a")
		settle := d.Settle
		d.Settle = func(ctx context.Context, k trust.Keyring) error {
			last = s.calls
			return settle(ctx, k)
		}
		if _, err := d.Rotate(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	each(t, last+4, func(t *testing.T, at int, late bool) {
		s := newShelf(4)
		s.get("d").up = false
		s.at, s.late, s.crash = at, late, func() { s.boot(3) }
		r, err := s.driver("a").Rotate(t.Context())
		if err != nil {
			t.Fatalf("d on at call %d: %v", at, err)
		}
		if len(r.Missing) > 0 {
			if at < last || at == last && !late {
				t.Errorf("d on at call %d of %d, late %v, was not let in", at, last, late)
			}
			return
		}
		s.wantAll(t, fmt.Sprintf("d on at call %d, late %v", at, late), r.Secret)
	})
}

func TestReceiverIsReservedForOneDriver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(3)
		r := s.get("c").receiver
		take := func(from string, do Do) error {
			step := Step{Do: do, Cluster: "abcdefgh"}
			if do == Install {
				step.Token = trust.NewSecret().Token()
			}
			_, err := r.Take(from, step)
			return err
		}
		if err := take("a", Drop); err == nil {
			t.Error("a step of a driver that has reserved nothing")
		}
		if err := take("a", Hold); err != nil {
			t.Fatal(err)
		}
		for _, do := range []Do{Hold, Install, Drop, Release} {
			if err := take("b", do); err == nil {
				t.Errorf("%s of a second driver was taken", do)
			}
		}
		if err := take("a", "nonsense"); err == nil {
			t.Error("nonsense was taken")
		}
		if _, err := r.Take("a", Step{Do: Install, Token: "nonsense"}); err == nil {
			t.Error("a token that is none was taken")
		}
		time.Sleep(leaseTime + time.Second)
		if err := take("b", Hold); err != nil {
			t.Errorf("the first driver is silent: %v", err)
		}
		s.get("b").up = false
		if err := take("a", Hold); err != nil {
			t.Errorf("the second driver is off: %v", err)
		}
	})
}
