package replication

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"reflect"
	"testing"

	"github.com/piswarm/piswarm/pkg/state"
)

// deaf are peers that cannot be reached.
type deaf struct{}

func (deaf) Ready() []string { return nil }
func (deaf) Exchange(context.Context, string, []byte) ([]byte, error) {
	return nil, errors.New("nobody there")
}
func (deaf) Broadcast([]byte) error { return nil }

// nowhere is a disk that forgets.
type nowhere struct{}

func (nowhere) Save(state.Snapshot) error { return nil }

// alone is a replicator of node a with one service.
func alone(t testing.TB) (*Replicator, *state.Store) {
	t.Helper()
	store, err := state.New("a", state.Snapshot{})
	if err == nil {
		_, err = store.Put("service/web", []byte(`{"id":"1"}`))
	}
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{Store: store, Disk: nowhere{}, Peers: deaf{}, MaxBroadcast: 1000, Log: slog.New(slog.DiscardHandler)}), store
}

// FuzzGossip is what comes by gossip, and as the payload of an acknowledgement. What is understood has a form that is
// understood alike; what is not changes nothing.
func FuzzGossip(f *testing.F) {
	_, store := alone(f)
	if m, ok := deltaMessage(store.Delta("service/web"), 1000); ok {
		f.Add(m)
	}
	f.Add(announceMessage("b", store.Digest()))
	f.Add(appendDigest(nil, store.Digest()))
	f.Add([]byte{kindDelta})
	f.Fuzz(func(t *testing.T, message []byte) {
		d, from, digest, err := readMessage(message)
		switch {
		case err != nil:
		case from != "":
			if again := announceMessage(from, digest); !bytes.Equal(again, message) {
				t.Fatalf("%x\nis written as\n%x", message, again)
			}
		default:
			again, ok := deltaMessage(d, state.MaxDelta+2)
			if !ok {
				t.Fatalf("%x: what was read is too large to write", message)
			}
			if d2, _, _, err := readMessage(again); err != nil || !reflect.DeepEqual(d, d2) {
				t.Fatalf("%+v\narrives as\n%+v, %v", d, d2, err)
			}
		}
		r, store := alone(t)
		before := store.Digest()
		r.Heard(message)
		if err != nil && store.Digest() != before {
			t.Fatalf("%x: refused (%v), and yet it changed the state", message, err)
		}
		after := store.Digest()
		r.Heard(message)
		if store.Digest() != after {
			t.Fatalf("%x: heard again, it changed the state again", message)
		}
		r.Acknowledged("b", message)
	})
}

// FuzzExchange is what another member sends over the node API: whatever is refused changes nothing, and what is taken in
// is answered with a message.
func FuzzExchange(f *testing.F) {
	other, err := state.New("b", state.Snapshot{})
	if err != nil {
		f.Fatal(err)
	}
	for _, key := range []string{"service/web", "service/db", "node/b"} {
		if _, err := other.Put(key, []byte(`{"id":"2"}`)); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(other.Offer("service/web", "node/b").Encode())
	f.Add(other.Offer().Encode())
	_, store := alone(f)
	if answer, _, err := other.Receive(store.Offer()); err == nil {
		f.Add(answer.Encode())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, store := alone(t)
		before := store.Digest()
		answer, err := r.Receive("b", raw)
		if err != nil {
			if store.Digest() != before {
				t.Fatalf("%x: refused (%v), and yet it changed the state", raw, err)
			}
			return
		}
		if _, err := state.DecodeMessage(answer); err != nil {
			t.Fatalf("%x: answered with no message: %v", raw, err)
		}
		if _, err := r.Receive("c", raw); err == nil {
			t.Fatalf("%x: taken in from a node that did not write it", raw)
		}
	})
}
