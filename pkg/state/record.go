package state

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// Limits of one record. They bound what a peer can make this node hold and what fits into one message.
const (
	MaxKey   = 256       // bytes of a key
	MaxNode  = 64        // bytes of a node ID
	MaxValue = 256 << 10 // bytes of a value
)

// MaxCounter is the greatest counter that a version may have. It lies far below the overflow of the type.
const MaxCounter = 1 << 62

// maxJump is how far beyond its own clock a node lets a peer move it in one step. A broken peer would have to
// send millions of messages to wear the counter out, while a new node still takes over any honest clock.
const maxJump = 1 << 40

// Version orders the records of one key. The zero Version is older than every other and belongs to no record.
type Version struct {
	Counter uint64 `json:"counter"` // of the Lamport clock of the node that wrote the record
	Node    string `json:"node"`    // that wrote it
}

// Compare returns a negative number if v is older than w, a positive one if it is newer, else 0.
func (v Version) Compare(w Version) int {
	if c := cmp.Compare(v.Counter, w.Counter); c != 0 {
		return c
	}
	return cmp.Compare(v.Node, w.Node)
}

func (v Version) String() string { return fmt.Sprintf("%d@%s", v.Counter, v.Node) }

// Record is one entry of the replicated map. A deleted record, a tombstone, has no value. Records are values
// that are never changed once made: nobody may write into Value.
type Record struct {
	Key     string          `json:"key"`
	Version Version         `json:"version"`
	Deleted bool            `json:"deleted,omitempty"`
	Value   json.RawMessage `json:"value,omitempty"`
}

// Merge returns the winner of two records of one key: the one with the greater version. Equal versions with
// different content come from no honest persistent write, but a restarted node may number its report twice, so
// the rest of the order decides: a tombstone wins, then the greater bytes. Merge is therefore the maximum of a
// total order, which makes it idempotent, commutative and associative for any input whatever.
func Merge(a, b Record) Record {
	if newer(b, a) {
		return b
	}
	return a
}

// newer tells whether a wins over b.
func newer(a, b Record) bool {
	if c := a.Version.Compare(b.Version); c != 0 {
		return c > 0
	}
	if a.Deleted != b.Deleted {
		return a.Deleted
	}
	return bytes.Compare(a.Value, b.Value) > 0
}

// Validate refuses a record that no honest node of any release makes. An unknown kind is not refused: a newer
// release may have more of them.
func (r Record) Validate() error {
	if err := validateKey(r.Key); err != nil {
		return err
	}
	if err := r.Version.validate(); err != nil {
		return fmt.Errorf("record %s: %w", r.Key, err)
	}
	if r.Deleted {
		if len(r.Value) != 0 {
			return fmt.Errorf("record %s: a tombstone has a value", r.Key)
		}
		return nil
	}
	if err := validateValue(r.Value); err != nil {
		return fmt.Errorf("record %s: %w", r.Key, err)
	}
	return nil
}

func validateValue(value []byte) error {
	if len(value) > MaxValue {
		return fmt.Errorf("the value has %d bytes, more than %d", len(value), MaxValue)
	}
	if !json.Valid(value) {
		return fmt.Errorf("the value is not JSON")
	}
	return nil
}

func validateKey(key string) error {
	if len(key) > MaxKey {
		return fmt.Errorf("key %.32q…: longer than %d bytes", key, MaxKey)
	}
	if kind, _ := cluster.SplitKey(key); kind == "" || !printable(key) {
		return fmt.Errorf("key %q: want KIND/NAME in printable characters", key)
	}
	return nil
}

func (v Version) validate() error {
	if v.Counter == 0 || v.Counter > MaxCounter {
		return fmt.Errorf("counter %d out of range", v.Counter)
	}
	return validateNode(v.Node)
}

func validateNode(id string) error {
	if id == "" || len(id) > MaxNode || !printable(id) {
		return fmt.Errorf("node ID %.80q: want 1 to %d printable characters", id, MaxNode)
	}
	return nil
}

// printable tells whether s is of visible ASCII characters only.
func printable(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// sum is a hash of a record's whole content.
type sum [16]byte

func sumOf(r Record) sum {
	full := sha256.Sum256(appendRecord(nil, r))
	return sum(full[:16])
}
