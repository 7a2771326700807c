// Package replication is the loop that keeps this node's copy of the state equal to the others' and safe on disk.
//
// What a record is and which of two wins is package state's to say. This package says when to talk to whom:
//
//   - A write is saved, handed to two more ready nodes and gossiped to the rest. A small one rides the gossip
//     itself; of a larger one the gossip only tells, and the others come and fetch it.
//   - The digest of the state rides on every acknowledgement of the failure detection. Where a peer's differs
//     and goes on differing for a moment, the two exchange what differs. That repairs whatever the gossip lost,
//     at no packet while there is nothing to repair.
//   - Whatever persistent record changes, by whomever, is saved before this node acknowledges it.
package replication

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// Disk keeps the state. Saving what is saved already writes nothing.
type Disk interface {
	Save(state.Snapshot) error
}

// Peers are the other nodes.
type Peers interface {
	// Ready returns the IDs of the other ready members.
	Ready() []string
	// Exchange hands a message to a peer and returns its answer.
	Exchange(ctx context.Context, peer string, message []byte) ([]byte, error)
	// Broadcast gossips to all, without a promise.
	Broadcast(message []byte) error
}

// Config of a Replicator.
type Config struct {
	Store *state.Store
	Disk  Disk
	Peers Peers
	// MaxBroadcast is the largest message in bytes that Peers can gossip.
	MaxBroadcast int
	// Compared, if set, is called when this node is seen to hold all that a peer does.
	Compared func(peer string)
	Log      *slog.Logger
}

// Bounds of waiting.
const (
	handOver     = 2 * time.Second        // for a write to reach two peers before the command says done anyway
	exchangeTime = 10 * time.Second       // for one message and its answer
	settle       = 250 * time.Millisecond // a digest that differs for less is a change still under way
	hurry        = handOver / 3           // for a peer to take a write before another one is asked as well
	saveAgain    = 5 * time.Second        // after the disk has failed
	maxTalks     = 4                      // exchanges at a time that this node begins
)

// Replicator is the loop. Its methods may be called by many goroutines.
type Replicator struct {
	cfg Config

	saving sync.Mutex // one snapshot after the other, so that an older one never overwrites a newer

	talk   chan string // peers to exchange with
	mu     sync.Mutex
	asked  map[string]bool // of those, the ones that wait or are being talked to
	once   sync.Once
	synced chan struct{}
}

// New returns a replicator; Run makes it work.
func New(cfg Config) *Replicator {
	return &Replicator{
		cfg:    cfg,
		talk:   make(chan string, 256),
		asked:  make(map[string]bool),
		synced: make(chan struct{}),
	}
}

// Run saves and exchanges until ctx ends.
func (r *Replicator) Run(ctx context.Context) error {
	dirty, cancel := r.cfg.Store.Watch(cluster.Persistent)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for range maxTalks {
		group.Go(func() error {
			for {
				select {
				case <-ctx.Done():
					return nil
				case peer := <-r.talk:
					r.exchange(ctx, peer)
				}
			}
		})
	}
	group.Go(func() error {
		var again <-chan time.Time // set while the last save has failed
		for first := true; ; first = false {
			if !first { // What was written before the watch began is not on disk either.
				select {
				case <-ctx.Done():
					return r.save() // what the last moment brought
				case <-dirty:
				case <-again:
				}
			}
			again = nil
			if err := r.save(); err != nil {
				r.cfg.Log.Error("the state is not on disk", "error", err, "again in", saveAgain)
				again = time.After(saveAgain)
			}
			// A card that hates writes gets one for a burst of changes.
			select {
			case <-ctx.Done():
				return r.save()
			case <-time.After(settle):
			}
		}
	})
	return group.Wait()
}

// save puts the state on disk, all of it or nothing.
func (r *Replicator) save() error {
	r.saving.Lock()
	defer r.saving.Unlock()
	snapshot := r.cfg.Store.Snapshot()
	if err := r.cfg.Disk.Save(snapshot); err != nil {
		return err
	}
	r.cfg.Store.Saved(snapshot)
	return nil
}

// Held says how safe a write is.
type Held struct {
	Holders int // nodes that have it on disk, this one included
	Wanted  int // as many as there should be
}

// Write makes what was just put into the store under the keys as safe as it can be made now: on this disk, on
// those of two more ready nodes (or all, if fewer), and on its way to the rest.
func (r *Replicator) Write(ctx context.Context, keys ...string) (Held, error) {
	if err := r.save(); err != nil {
		return Held{}, fmt.Errorf("save on this node: %w", err)
	}
	r.spread(keys)
	peers := r.cfg.Peers.Ready()
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	wanted := min(2, len(peers))
	ctx, cancel := context.WithTimeout(ctx, handOver)
	defer cancel()
	held := Held{Holders: 1, Wanted: 1 + wanted}
	// Two at a time; another peer is asked instead of one that fails, and besides one that lets us wait: it may have
	// lost its power a moment ago.
	answers := make(chan error)
	under := 0
	next := func() {
		if len(peers) == 0 {
			return
		}
		peer := peers[0]
		peers = peers[1:]
		under++
		go func() {
			_, err := r.send(ctx, peer, r.cfg.Store.Offer(keys...))
			if err != nil {
				r.cfg.Log.Debug("hand a write over", "peer", peer, "error", err)
			}
			answers <- err
		}()
	}
	for range wanted {
		next()
	}
	waiting := time.NewTicker(hurry)
	defer waiting.Stop()
	for under > 0 { // send ends with ctx at the latest
		select {
		case <-waiting.C:
			next()
		case err := <-answers:
			under--
			switch {
			case err == nil:
				held.Holders++
				if held.Holders == held.Wanted {
					cancel()
				}
			case ctx.Err() == nil:
				next()
			}
		}
	}
	return held, nil
}

// Publish saves what was just put into the store under the keys and gossips it, and waits for nobody.
func (r *Replicator) Publish(keys ...string) error {
	for _, key := range keys {
		if cluster.Persistent(key) {
			if err := r.save(); err != nil {
				return fmt.Errorf("save on this node: %w", err)
			}
			break
		}
	}
	r.spread(keys)
	return nil
}

// spread gossips the records under the keys, or, where they are too large, that there is something to fetch.
func (r *Replicator) spread(keys []string) {
	message, ok := deltaMessage(r.cfg.Store.Delta(keys...), r.cfg.MaxBroadcast)
	if !ok {
		message = announceMessage(r.cfg.Store.Self(), r.cfg.Store.Digest())
	}
	if err := r.cfg.Peers.Broadcast(message); err != nil {
		r.cfg.Log.Debug("gossip a change", "error", err) // comparing digests will bring it
	}
}

// Heard takes in what another node gossiped.
func (r *Replicator) Heard(message []byte) {
	delta, from, digest, err := readMessage(message)
	if err != nil {
		r.cfg.Log.Debug("gossip refused", "error", err)
		return
	}
	if from != "" {
		if from != r.cfg.Store.Self() && digest != r.cfg.Store.Digest() {
			r.Greet(from)
		}
		return
	}
	outcome, err := r.cfg.Store.Merge(delta)
	if err != nil {
		r.cfg.Log.Debug("gossip refused", "error", err)
	}
	r.follow(outcome)
}

// Payload is what rides on acknowledgements: the digest.
func (r *Replicator) Payload() []byte { return appendDigest(nil, r.cfg.Store.Digest()) }

// Acknowledged compares a peer's digest with this node's and, where they go on differing, exchanges. It returns
// at once.
func (r *Replicator) Acknowledged(peer string, payload []byte) {
	theirs, rest, err := readDigest(payload)
	if err != nil || len(rest) > 0 {
		return
	}
	if theirs == r.cfg.Store.Digest() {
		r.compared(peer)
		if r.cfg.Store.Stranger() {
			r.Greet(peer) // Nothing is missing, but only an exchange makes it a member.
		}
		return
	}
	if !r.ask(peer) {
		return
	}
	time.AfterFunc(settle, func() {
		if theirs == r.cfg.Store.Digest() {
			r.answered(peer)
			return
		}
		r.queue(peer)
	})
}

// Greet exchanges with a peer soon.
func (r *Replicator) Greet(peer string) {
	if r.ask(peer) {
		r.queue(peer)
	}
}

// ask reserves the peer; false means it waits for its turn already.
func (r *Replicator) ask(peer string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked[peer] {
		return false
	}
	r.asked[peer] = true
	return true
}

func (r *Replicator) answered(peer string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.asked, peer)
}

func (r *Replicator) queue(peer string) {
	select {
	case r.talk <- peer:
	default: // far more than there are nodes; the next acknowledgement asks again
		r.answered(peer)
	}
}

// exchange makes this node and the peer equal.
func (r *Replicator) exchange(ctx context.Context, peer string) {
	// Given back first, so that a change that comes while the two talk is not lost.
	r.answered(peer)
	outcome, err := r.cfg.Store.Exchange(func(m state.Message) (state.Message, error) { return r.send(ctx, peer, m) })
	r.follow(outcome)
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			r.cfg.Log.Debug("exchange", "peer", peer, "error", err)
		}
		return
	}
	r.compared(peer)
}

// compared notes that this node has seen what a peer holds, whoever of the two began, and has it all.
func (r *Replicator) compared(peer string) {
	r.once.Do(func() { close(r.synced) })
	if r.cfg.Compared != nil {
		r.cfg.Compared(peer)
	}
}

// send hands one message to a peer and returns its answer.
func (r *Replicator) send(ctx context.Context, peer string, m state.Message) (state.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	raw, err := r.cfg.Peers.Exchange(ctx, peer, m.Encode())
	if err != nil {
		return state.Message{}, err
	}
	answer, err := state.DecodeMessage(raw)
	if err != nil {
		return state.Message{}, err
	}
	if answer.From != peer {
		return state.Message{}, fmt.Errorf("%s answered as %.40q", peer, answer.From)
	}
	return answer, nil
}

// Receive takes in a message that a peer handed over and returns the answer. When it returns, what the message
// brought is on this node's disk.
func (r *Replicator) Receive(from string, raw []byte) ([]byte, error) {
	m, err := state.DecodeMessage(raw)
	if err != nil {
		return nil, err
	}
	if m.From != from {
		return nil, fmt.Errorf("node %s sent a message as %.40q", from, m.From)
	}
	answer, outcome, err := r.cfg.Store.Receive(m)
	r.follow(outcome)
	if err != nil {
		return nil, err
	}
	// Also if nothing changed: the gossip may have brought the same a moment ago, and it is not on disk yet.
	if slices.ContainsFunc(slices.Concat(m.Records, outcome.Changed), persistent) {
		if err := r.save(); err != nil {
			return nil, fmt.Errorf("save: %w", err)
		}
	}
	if outcome.Equal {
		r.compared(from)
	}
	return answer.Encode(), nil
}

func persistent(r state.Record) bool { return cluster.Persistent(r.Key) }

// follow does what an outcome asks for.
func (r *Replicator) follow(o state.Outcome) {
	for _, record := range o.Dropped {
		r.cfg.Log.Info("gave up a record that the cluster has removed meanwhile", "key", record.Key)
	}
	if len(o.Refused) > 0 {
		r.cfg.Log.Debug("refused records from before they were removed", "keys", o.Refused)
	}
	if len(o.Spread) == 0 {
		return
	}
	keys := make([]string, 0, len(o.Spread))
	for _, record := range o.Spread {
		keys = append(keys, record.Key)
	}
	if err := r.Publish(keys...); err != nil {
		r.cfg.Log.Error("the state is not on disk", "error", err)
	}
}

// Synced is closed once this node has compared its state with a peer's since it started.
func (r *Replicator) Synced() <-chan struct{} { return r.synced }
