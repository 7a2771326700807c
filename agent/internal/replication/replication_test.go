package replication

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// lan joins replicators in memory.
type lan struct {
	mu        sync.Mutex
	nodes     map[string]*node
	deaf      bool // gossip is lost
	gossiped  [][]byte
	exchanges int
}

// node is one of them, with its disk.
type node struct {
	*Replicator
	lan   *lan
	store *state.Store
	hangs bool // takes messages and never answers

	mu    sync.Mutex
	disk  state.Snapshot
	saves int
	full  error
}

func (n *node) Save(s state.Snapshot) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.full != nil {
		return n.full
	}
	n.disk = s
	n.saves++
	return nil
}

func (n *node) fill(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.full = err
}

func (n *node) saved(key string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range n.disk.Records {
		if r.Key == key {
			return true
		}
	}
	return false
}

func (n *node) Ready() []string {
	var all []string
	for id := range n.lan.nodes {
		if id != n.store.Self() {
			all = append(all, id)
		}
	}
	return all
}

func (n *node) Exchange(ctx context.Context, peer string, message []byte) ([]byte, error) {
	n.lan.mu.Lock()
	n.lan.exchanges++
	n.lan.mu.Unlock()
	other := n.lan.nodes[peer]
	if other.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return other.Receive(n.store.Self(), message)
}

func (n *node) Broadcast(message []byte) error {
	n.lan.mu.Lock()
	defer n.lan.mu.Unlock()
	n.lan.gossiped = append(n.lan.gossiped, message)
	if n.lan.deaf {
		return errors.New("lost")
	}
	for id, other := range n.lan.nodes {
		if id != n.store.Self() && !other.hangs {
			go other.Heard(message)
		}
	}
	return nil
}

// acknowledge lets every node see every other's digest, as the failure detection does over time.
func (l *lan) acknowledge() {
	for from, a := range l.nodes {
		for to, b := range l.nodes {
			if from != to {
				b.Acknowledged(from, a.Payload())
			}
		}
	}
	time.Sleep(time.Second)
	synctest.Wait()
}

// join starts n nodes and lets them come to one state.
func join(t *testing.T, n int) *lan {
	l := start(t, n)
	for range 5 {
		l.acknowledge()
	}
	l.equal(t)
	for id, n := range l.nodes {
		if n.store.Stranger() && len(l.nodes) > 1 {
			t.Errorf("%s is not a member yet", id)
		}
	}
	l.gossiped, l.exchanges = nil, 0
	return l
}

// start makes n nodes, n1 the first, whose loops run until the test ends.
func start(t *testing.T, n int) *lan {
	l := &lan{nodes: map[string]*node{}}
	for i := 1; i <= n; i++ {
		id := fmt.Sprintf("n%d", i)
		store, err := state.New(id, state.Snapshot{})
		if err != nil {
			t.Fatal(err)
		}
		node := &node{lan: l, store: store}
		node.Replicator = New(Config{Store: store, Disk: node, Peers: node, MaxBroadcast: 600, Log: slog.New(slog.DiscardHandler)})
		l.nodes[id] = node
		if _, err := store.Put(cluster.NodeKey(id), []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
	}
	for _, node := range l.nodes {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- node.Run(ctx) }()
		t.Cleanup(func() {
			cancel()
			<-done
		})
	}
	return l
}

func (l *lan) equal(t *testing.T) {
	t.Helper()
	for id, n := range l.nodes {
		if d := n.store.Digest(); d != l.nodes["n1"].store.Digest() {
			t.Errorf("%s is at %s, n1 at %s", id, d, l.nodes["n1"].store.Digest())
		}
	}
}

func (n *node) put(t *testing.T, key, value string) string {
	t.Helper()
	if _, err := n.store.Put(key, []byte(value)); err != nil {
		t.Fatal(err)
	}
	return key
}

func (l *lan) savers(key string) int {
	count := 0
	for _, n := range l.nodes {
		if n.saved(key) {
			count++
		}
	}
	return count
}

// TestBothSidesKnowThatTheyCompared: the one that was asked learns it from the next acknowledgement, and does not wait
// for a difference that may never come.
func TestBothSidesKnowThatTheyCompared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, 2)
		l.nodes["n1"].Greet("n2")
		synctest.Wait()
		l.acknowledge()
		for id, n := range l.nodes {
			select {
			case <-n.Synced():
			default:
				t.Errorf("%s does not know that it has compared its state", id)
			}
		}
	})
}

func TestWriteIsHeldByTwoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := join(t, 5)
		l.deaf = true
		key := l.nodes["n1"].put(t, "service/web", `{}`)
		held, err := l.nodes["n1"].Write(t.Context(), key)
		if err != nil || held != (Held{Holders: 3, Wanted: 3}) || l.savers(key) != 3 {
			t.Errorf("%+v %v, on %d disks", held, err, l.savers(key))
		}
	})
}

// What comes by gossip first waits for the saver; the answer to the write must not go by that.
func TestHandedOverIsOnDiskAlsoIfGossipWasQuicker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := join(t, 3)
		a, b := l.nodes["n1"], l.nodes["n2"]
		b.put(t, "service/other", `{}`) // the saver of b is in its pause after this one
		synctest.Wait()
		key := a.put(t, "service/web", `{}`)
		if message, ok := deltaMessage(a.store.Delta(key), 600); ok {
			b.Heard(message)
		}
		synctest.Wait()
		if b.saved(key) {
			t.Fatal("it is on disk already: the test shows nothing")
		}
		if _, err := b.Receive("n1", a.store.Offer(key).Encode()); err != nil || !b.saved(key) {
			t.Errorf("answered %v, on disk %t", err, b.saved(key))
		}
	})
}

func TestWriteSaysHowManyHoldIt(t *testing.T) {
	for name, test := range map[string]struct {
		nodes, hang int
		want        Held
		most        time.Duration
	}{
		"alone":                       {1, 0, Held{1, 1}, 0},
		"two":                         {2, 0, Held{2, 2}, 0},
		"one of two hangs":            {2, 1, Held{1, 2}, handOver},
		"one of three hangs":          {3, 1, Held{2, 3}, handOver},
		"one of four hangs":           {4, 1, Held{3, 3}, hurry},
		"two of five hang":            {5, 2, Held{3, 3}, 2 * hurry},
		"all others of four hang":     {4, 3, Held{1, 3}, handOver},
		"all but one of twenty hangs": {20, 19, Held{1, 3}, handOver},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := join(t, test.nodes)
				for i := range test.hang {
					l.nodes[fmt.Sprintf("n%d", i+2)].hangs = true
				}
				key := l.nodes["n1"].put(t, "service/web", `{}`)
				begun := time.Now()
				held, err := l.nodes["n1"].Write(t.Context(), key)
				if took := time.Since(begun); err != nil || held != test.want || took > test.most {
					t.Errorf("%+v %v after %s, want %+v within %s", held, err, took, test.want, test.most)
				}
			})
		})
	}
}

func TestSmallRidesGossipLargeIsFetched(t *testing.T) {
	for name, size := range map[string]int{"small": 10, "large": 5000} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := join(t, 3)
				var value strings.Builder // that deflate cannot make small
				for i := 0; value.Len() < size; i++ {
					fmt.Fprintf(&value, "%x", i*i*i*7919)
				}
				key := l.nodes["n1"].put(t, "plan/web", `"`+value.String()+`"`)
				if err := l.nodes["n1"].Publish(key); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				l.equal(t)
				if small := l.exchanges == 0; small != (size < 100) {
					t.Errorf("%d exchanges", l.exchanges)
				}
				for _, m := range l.gossiped {
					if len(m) > 600 {
						t.Errorf("gossiped %d bytes", len(m))
					}
				}
			})
		})
	}
}

func TestLostGossipIsRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := join(t, 3)
		l.deaf = true
		a := l.nodes["n1"]
		if err := a.Publish(a.put(t, "plan/web", `{}`), a.put(t, cluster.ReportKey("n1"), `{}`)); err != nil {
			t.Fatal(err)
		}
		l.acknowledge()
		l.equal(t)
		if l.savers("plan/web") != 3 {
			t.Error("what was repaired is not on disk")
		}
		// And then there is nothing more to say, nor to save.
		l.exchanges = 0
		saves := a.saves
		for range 50 {
			l.acknowledge()
		}
		if l.exchanges > 0 || a.saves != saves {
			t.Errorf("%d exchanges and %d saves between equals", l.exchanges, a.saves-saves)
		}
	})
}

func TestDiskErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := join(t, 2)
		full := errors.New("no space left")
		a, b := l.nodes["n1"], l.nodes["n2"]
		a.fill(full)
		key := a.put(t, "service/web", `{}`)
		if _, err := a.Write(t.Context(), key); !errors.Is(err, full) || len(l.gossiped) > 0 {
			t.Errorf("write on a full disk: %v, and %d gossiped", err, len(l.gossiped))
		}
		// A peer that cannot save does not say that it has, however often it is asked.
		b.fill(full)
		for range 2 {
			if _, err := b.Receive("n1", a.store.Offer(key).Encode()); !errors.Is(err, full) {
				t.Errorf("answered with a full disk: %v", err)
			}
		}
		// When there is room again, it is saved without any other change.
		time.Sleep(time.Second) // nothing new comes any more
		b.fill(nil)
		time.Sleep(saveAgain + time.Second)
		synctest.Wait()
		if !b.saved(key) {
			t.Error("not saved when there was room again")
		}
	})
}

func TestRefusesWhatIsNotWellFormed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := join(t, 2)
		a, b := l.nodes["n1"], l.nodes["n2"]
		before := a.store.Digest()
		for _, m := range [][]byte{nil, {0}, {kindDelta}, {kindAnnounce, 1, 2}, bytes.Repeat([]byte{kindDelta}, 5000)} {
			a.Heard(m)
		}
		a.Acknowledged("n2", []byte("short"))
		if _, err := a.Receive("n2", []byte("nonsense")); err == nil {
			t.Error("took nonsense")
		}
		key := b.put(t, "service/web", `{}`)
		if _, err := a.Receive("n3", b.store.Offer(key).Encode()); err == nil {
			t.Error("took a message under another's name")
		}
		if a.store.Digest() != before {
			t.Error("something of it was taken in")
		}
	})
}

// The agent writes its node record before the loop runs; alone, it gets no other change that would save it.
func TestSavesWhatWasWrittenBeforeItRan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := start(t, 1)
		synctest.Wait()
		if n := l.nodes["n1"]; !n.saved(cluster.NodeKey("n1")) || n.saves != 1 {
			t.Errorf("on disk: %t, after %d saves", n.saved(cluster.NodeKey("n1")), n.saves)
		}
	})
}
