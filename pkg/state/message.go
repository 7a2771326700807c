package state

import (
	"encoding/binary"
	"fmt"
)

// MaxMessage is more than any encoded Message has bytes. What does not fit waits for the next exchange.
const MaxMessage = 1 << 20

// The parts of a message keep to these sizes, unless their first thing alone is larger: then it goes alone. The
// whole stays below MaxMessage even with the largest record.
const (
	listBudget   = 384 << 10
	recordBudget = 256 << 10
	wantBudget   = 64 << 10
)

// Message is one step of an exchange between two nodes. Both sides answer a message with a message, by the same
// function, until one has nothing more to say.
type Message struct {
	From    string // the sender's node ID; the transport has checked it
	Horizon uint64
	Clock   uint64 // the greatest counter that the sender has seen
	// Durable is a counter below all that the sender will ever write, be it after a crash. All persistent records
	// that it holds up to there are on its disk.
	Durable uint64
	Buckets [Buckets]uint64
	Lists   []List   // what the sender holds in some buckets, in order of the buckets
	Records []Record // what the receiver lacks
	Want    []string // keys of what the sender lacks
}

// List names all records that a node holds in a bucket, tombstones included.
type List struct {
	Bucket  int
	Entries []Entry
}

// Entry stands for a record in a List.
type Entry struct {
	Key     string
	Version Version
	Deleted bool
	Sum     uint64 // of the whole record
}

func (l List) byKey() map[string]Entry {
	m := make(map[string]Entry, len(l.Entries))
	for _, e := range l.Entries {
		m[e.Key] = e
	}
	return m
}

// Empty tells whether the message says nothing but where its sender stands.
func (m Message) Empty() bool { return len(m.Lists) == 0 && len(m.Records) == 0 && len(m.Want) == 0 }

// validate refuses what no honest node sends.
func (m Message) validate() error {
	if err := validateNode(m.From); err != nil {
		return err
	}
	if m.Clock > MaxCounter || m.Horizon > m.Clock || m.Durable > m.Clock {
		return fmt.Errorf("clock %d, durable %d, horizon %d do not fit together", m.Clock, m.Durable, m.Horizon)
	}
	for i, l := range m.Lists {
		if l.Bucket < 0 || l.Bucket >= Buckets || i > 0 && l.Bucket <= m.Lists[i-1].Bucket {
			return fmt.Errorf("list %d: bucket %d out of order", i, l.Bucket)
		}
		for j, e := range l.Entries {
			if err := e.validate(m.Clock); err != nil {
				return err
			}
			if bucketOf(e.Key) != l.Bucket || j > 0 && e.Key <= l.Entries[j-1].Key {
				return fmt.Errorf("list %d: key %s out of order", i, e.Key)
			}
		}
	}
	for _, r := range m.Records {
		if err := r.Validate(); err != nil {
			return err
		}
		if r.Version.Counter > m.Clock {
			return fmt.Errorf("record %s: counter %d is beyond the clock %d", r.Key, r.Version.Counter, m.Clock)
		}
	}
	for _, key := range m.Want {
		if err := validateKey(key); err != nil {
			return err
		}
	}
	return nil
}

func (e Entry) validate(clock uint64) error {
	if err := validateKey(e.Key); err != nil {
		return err
	}
	if err := e.Version.validate(); err != nil {
		return fmt.Errorf("entry %s: %w", e.Key, err)
	}
	if e.Version.Counter > clock {
		return fmt.Errorf("entry %s: counter %d is beyond the clock %d", e.Key, e.Version.Counter, clock)
	}
	return nil
}

// messageFormat is the first byte of an encoded Message.
const messageFormat = 1

// Encode returns the message in its compact form.
func (m Message) Encode() []byte {
	b := appendString([]byte{messageFormat}, m.From)
	b = binary.AppendUvarint(b, m.Horizon)
	b = binary.AppendUvarint(b, m.Clock)
	b = binary.AppendUvarint(b, m.Durable)
	for _, d := range m.Buckets {
		b = binary.BigEndian.AppendUint64(b, d)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Lists)))
	for _, l := range m.Lists {
		b = append(b, byte(l.Bucket))
		b = binary.AppendUvarint(b, uint64(len(l.Entries)))
		for _, e := range l.Entries {
			b = appendEntry(b, e)
		}
	}
	b = appendRecords(b, m.Records)
	b = binary.AppendUvarint(b, uint64(len(m.Want)))
	for _, key := range m.Want {
		b = appendString(b, key)
	}
	return b
}

func appendEntry(b []byte, e Entry) []byte {
	b = appendFlag(appendVersion(appendString(b, e.Key), e.Version), e.Deleted)
	return binary.BigEndian.AppendUint64(b, e.Sum)
}

// minEntry is the size of the smallest entry of a list.
const minEntry = minKey + minVersion + 1 + 8

// minWant is the size of the shortest key that can be wanted.
const minWant = minKey

// DecodeMessage reads what Encode wrote and refuses anything else.
func DecodeMessage(b []byte) (Message, error) {
	if len(b) > MaxMessage {
		return Message{}, fmt.Errorf("message of %d bytes, more than %d", len(b), MaxMessage)
	}
	r := &reader{b: b}
	if f := r.byte(); f != messageFormat {
		r.fail(fmt.Errorf("format %d is not known to this release", f))
	}
	m := Message{From: r.string(MaxNode), Horizon: r.uvarint(), Clock: r.uvarint(), Durable: r.uvarint()}
	for i := range m.Buckets {
		m.Buckets[i] = r.uint64()
	}
	lists := r.count(2)
	if lists > Buckets {
		r.fail(fmt.Errorf("%d lists for %d buckets", lists, Buckets))
		lists = 0
	}
	for range lists {
		l := List{Bucket: int(r.byte())}
		for range r.count(minEntry) {
			l.Entries = append(l.Entries, Entry{
				Key: r.string(MaxKey), Version: r.version(), Deleted: r.flag(), Sum: r.uint64(),
			})
		}
		m.Lists = append(m.Lists, l)
	}
	m.Records = r.records()
	for range r.count(minWant) {
		m.Want = append(m.Want, r.string(MaxKey))
	}
	err := r.end()
	if err == nil {
		err = m.validate()
	}
	if err != nil {
		return Message{}, fmt.Errorf("message: %w", err)
	}
	return m, nil
}
