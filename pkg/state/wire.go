package state

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// errShort is returned for bytes that end too early or say they have more than they do.
var errShort = errors.New("cut short")

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendVersion(b []byte, v Version) []byte {
	return appendString(binary.AppendUvarint(b, v.Counter), v.Node)
}

func appendFlag(b []byte, flag bool) []byte {
	if flag {
		return append(b, 1)
	}
	return append(b, 0)
}

// appendRecord writes key, counter, node, one byte that is 1 for a tombstone, and the value.
func appendRecord(b []byte, r Record) []byte {
	b = appendFlag(appendVersion(appendString(b, r.Key), r.Version), r.Deleted)
	if r.Deleted {
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(r.Value)))
	return append(b, r.Value...)
}

// reader takes values off the front of untrusted bytes. After the first error it returns zero values only, so
// that callers check err once, at the end or where a count steers a loop. It allocates nothing that the bytes
// do not hold. What the values mean is for the caller to check.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err, r.b = err, nil
	}
}

// uvarint refuses every form of a number but the shortest, so that each message has one form.
func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || n > 1 && r.b[n-1] == 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail(errShort)
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uint64() uint64 {
	if len(r.b) < 8 {
		r.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// bytes returns a part of the underlying bytes, not a copy.
func (r *reader) bytes(limit int) []byte {
	n := r.uvarint()
	if n > uint64(limit) {
		r.fail(fmt.Errorf("%d bytes where at most %d may be", n, limit))
		return nil
	}
	if n > uint64(len(r.b)) {
		r.fail(errShort)
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) string(limit int) string { return string(r.bytes(limit)) }

// count reads the number of things that follow, each of at least size bytes.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.fail(errShort)
		return 0
	}
	return int(n)
}

func (r *reader) flag() bool {
	c := r.byte()
	if c > 1 {
		r.fail(fmt.Errorf("flag %d", c))
	}
	return c == 1
}

func (r *reader) version() Version {
	return Version{Counter: r.uvarint(), Node: r.string(MaxNode)}
}

func (r *reader) record() Record {
	rec := Record{Key: r.string(MaxKey), Version: r.version(), Deleted: r.flag()}
	if !rec.Deleted {
		// A copy, lest one small record keep a whole message in memory.
		rec.Value = append([]byte(nil), r.bytes(MaxValue)...)
	}
	return rec
}

// The least that things take on the wire, which bounds how many of them a message can make this node allocate: a key a/b
// with its length, a counter with a node of one letter, and a record, a tombstone, of these with its flag.
const (
	minKey     = 4
	minVersion = 1 + 2
	minRecord  = minKey + minVersion + 1
)

func (r *reader) records() []Record {
	var out []Record
	for range r.count(minRecord) {
		rec := r.record()
		if r.err != nil {
			return nil
		}
		out = append(out, rec)
	}
	return out
}

// end returns the first error, or one if bytes are left over.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail(fmt.Errorf("%d bytes too many", len(r.b)))
	}
	return r.err
}

func appendRecords(b []byte, records []Record) []byte {
	b = binary.AppendUvarint(b, uint64(len(records)))
	for _, r := range records {
		b = appendRecord(b, r)
	}
	return b
}

// Encode returns the snapshot in its compact form.
func (s Snapshot) Encode() []byte {
	b := binary.AppendUvarint(nil, s.Clock)
	b = binary.AppendUvarint(b, s.Horizon)
	b = binary.AppendUvarint(appendFlag(b, s.Joined), s.Since)
	return appendRecords(b, s.Records)
}

// DecodeSnapshot reads what Encode wrote and refuses anything else.
func DecodeSnapshot(b []byte) (Snapshot, error) {
	r := &reader{b: b}
	s := Snapshot{
		Clock: r.uvarint(), Horizon: r.uvarint(), Joined: r.flag(), Since: r.uvarint(), Records: r.records(),
	}
	if err := r.end(); err != nil {
		return Snapshot{}, fmt.Errorf("snapshot: %w", err)
	}
	if err := s.validate(); err != nil {
		return Snapshot{}, fmt.Errorf("snapshot: %w", err)
	}
	return s, nil
}
