package state

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
)

// MaxDelta is the size of a delta's content. What is larger goes by way of an exchange.
const MaxDelta = 64 << 10

// Delta is a few records on their way to everybody, with the horizon of the node that sends them.
type Delta struct {
	Horizon uint64
	Records []Record
}

// Delta returns the records that are now held under the keys, tombstones included. It asks for keys, not for
// records, because a record that has been purged since must not travel under the horizon that purged it.
func (s *Store) Delta(keys ...string) Delta {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Delta{Horizon: s.horizon, Records: s.pick(keys)}
}

// pick returns the records held under the keys.
func (s *Store) pick(keys []string) []Record {
	var out []Record
	for _, key := range keys {
		if h, ok := s.set.records[key]; ok {
			out = append(out, h.Record)
		}
	}
	return out
}

// Offer returns a message with the records now held under the keys, for handing them to a peer directly. The
// peer's answer to it says that it holds them. Keys that do not fit in one message are left out.
func (s *Store) Offer(keys ...string) Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.summary()
	m.Records = fitting(s.pick(keys))
	return m
}

// Merge takes in a delta. Small as it is, it moves no horizon: only an exchange shows all that a peer holds.
func (s *Store) Merge(d Delta) (Outcome, error) {
	for _, r := range d.Records {
		if err := r.Validate(); err != nil {
			return Outcome{}, fmt.Errorf("delta: %w", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range d.Records {
		if err := s.reach(r.Version.Counter); err != nil {
			return Outcome{}, fmt.Errorf("delta: record %s: %w", r.Key, err)
		}
	}
	var o Outcome
	err := s.admit(d.Horizon, d.Records, &o)
	s.wakeFor(o.Changed)
	return o, err
}

// The first byte of an encoded Delta tells its form.
const (
	deltaPlain   = 1
	deltaDeflate = 2 // the plain form behind the first byte, deflated with the dictionary
)

// dictionary holds what records are full of, so that even a short one shrinks: the field names of package
// cluster, the most frequent ones last. It is part of the wire form deltaDeflate and never changes.
const dictionary = `service/node/plan/report/","capAdd":["CAP_","memoryBytes":,"nanoCPUs":,"reservations":{},"limits":{` +
	`"constraints":[{"attribute":"node.labels.","value":","spread":["node.labels.","maxPerNode":"strategy":"spread"` +
	`"virtualIP":"10.","createdAt":"20","updatedAt":"20","mode":"replicated","replicas":,"stopGracePeriod":` +
	`"mounts":[{"type":"volume","source":"/","target":"/","env":["TZ=","labels":{"args":["entrypoint":["/` +
	`"image":"docker.io/library/","digest":"sha256:","platforms":[{"os":"linux","arch":"arm","variant":"v7"},` +
	`{"os":"linux","arch":"arm64"},{"os":"linux","arch":"amd64"}],"ports":[{"published":8080,"target":80,` +
	`"protocol":"tcp","mode":"ingress"}]"availability":"active","role":"manager","reason":"{"serviceID":"` +
	`"tasks":[{"id":"","slot":1,"node":"","specVersion":1,"attempt":1}{"node":{"hostname":"pi","address":"192.168.1.` +
	`"mac":"b8:27:eb:","subnet":"10.77.","capacity":{"memoryLimit":true,"model":"Raspberry Pi ","kernel":"6.` +
	`"version":"","runtime":"","images":[{"name":"docker.io/library/","sizeBytes":"warnings":["error":"",` +
	`"exitCode":1,"restarts":1"tasks":[{"id":"","service":"","serviceID":"","slot":1,"specVersion":1,` +
	`"state":"starting"preparing"running","address":"10.77.","since":"202`

// EncodeDelta returns the delta in at most limit bytes, deflated if it does not fit as it is. It returns false
// if it does not fit at all: then the caller announces the change, and peers fetch it in an exchange.
func EncodeDelta(d Delta, limit int) ([]byte, bool) {
	plain := binary.AppendUvarint([]byte{deltaPlain}, d.Horizon)
	plain = appendRecords(plain, d.Records)
	if len(plain) <= limit {
		return plain, true
	}
	if len(plain) > MaxDelta {
		return nil, false
	}
	var out bytes.Buffer
	out.WriteByte(deltaDeflate)
	w, err := flate.NewWriterDict(&out, flate.BestCompression, []byte(dictionary))
	if err != nil {
		return nil, false // Only for a level that does not exist.
	}
	// Writing to a buffer cannot fail.
	_, _ = w.Write(plain[1:])
	_ = w.Close()
	return out.Bytes(), out.Len() <= limit
}

// DecodeDelta reads what EncodeDelta wrote and refuses anything else. It allocates no more than MaxDelta bytes
// and a bit, however well the bytes are packed.
func DecodeDelta(b []byte) (Delta, error) {
	d, err := decodeDelta(b)
	if err != nil {
		return Delta{}, fmt.Errorf("delta: %w", err)
	}
	return d, nil
}

func decodeDelta(b []byte) (Delta, error) {
	if len(b) == 0 {
		return Delta{}, errShort
	}
	form, b, surplus := b[0], b[1:], 0
	switch form {
	case deltaPlain:
	case deltaDeflate:
		packed := bytes.NewReader(b)
		var err error
		b, err = io.ReadAll(io.LimitReader(flate.NewReaderDict(packed, []byte(dictionary)), MaxDelta+1))
		if err != nil {
			return Delta{}, fmt.Errorf("inflate: %w", err)
		}
		surplus = packed.Len()
	default:
		return Delta{}, fmt.Errorf("format %d is not known to this release", form)
	}
	if len(b) > MaxDelta {
		return Delta{}, fmt.Errorf("more than %d bytes", MaxDelta)
	}
	if surplus > 0 {
		return Delta{}, fmt.Errorf("%d bytes too many", surplus)
	}
	r := &reader{b: b}
	d := Delta{Horizon: r.uvarint(), Records: r.records()}
	if err := r.end(); err != nil {
		return Delta{}, err
	}
	for _, rec := range d.Records {
		if err := rec.Validate(); err != nil {
			return Delta{}, err
		}
	}
	return d, nil
}
