package state

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// sample returns a message with something in every field.
func sample(t testing.TB) Message {
	t.Helper()
	a, err := New("a", Snapshot{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if _, err := a.Put(fmt.Sprintf("service/%d", i), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := a.Delete("service/3"); err != nil {
		t.Fatal(err)
	}
	b, err := New("b", Snapshot{Clock: 400, Horizon: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put("plan/x", []byte(`[1,2]`)); err != nil {
		t.Fatal(err)
	}
	m, _, err := b.Receive(a.Summary())
	if err != nil {
		t.Fatal(err)
	}
	if m, _, err = a.Receive(m); err != nil {
		t.Fatal(err)
	}
	m.Lists = a.lists([Buckets]uint64{})
	if m.Empty() || len(m.Records) == 0 || len(m.Want) == 0 || len(m.Lists) == 0 {
		t.Fatalf("the sample is too thin: %+v", m)
	}
	return m
}

func TestMessageRoundTrip(t *testing.T) {
	m := sample(t)
	b := m.Encode()
	got, err := DecodeMessage(b)
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Fatalf("%+v\nbecame\n%+v, %v", m, got, err)
	}
	for n := range b {
		if _, err := DecodeMessage(b[:n]); err == nil {
			t.Fatalf("the first %d of %d bytes pass for a message", n, len(b))
		}
	}
	if _, err := DecodeMessage(append(b, 0)); err == nil {
		t.Fatal("a byte too many passes")
	}
	if _, err := DecodeMessage(make([]byte, MaxMessage+1)); err == nil {
		t.Fatal("a message of any size passes")
	}
}

// Whatever passes the decoder has one form, and can be handed to a store without harm.
func FuzzDecodeMessage(f *testing.F) {
	f.Add(sample(f).Encode())
	f.Add(Message{From: "a"}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := DecodeMessage(b)
		if err != nil {
			return
		}
		if again := m.Encode(); !bytes.Equal(again, b) {
			t.Fatalf("%x\nencodes to\n%x", b, again)
		}
		s := fresh(t, "z")
		put(t, s, "service/1", "1")
		out, _, err := s.Receive(m)
		if err != nil {
			return
		}
		if _, err := DecodeMessage(out.Encode()); err != nil {
			t.Fatalf("the answer is no message: %v", err)
		}
	})
}

func FuzzDecodeDelta(f *testing.F) {
	records := sample(f).Records
	for _, limit := range []int{MaxDelta, len(appendRecords(nil, records))} {
		if b, ok := EncodeDelta(Delta{Horizon: 7, Records: records}, limit); ok {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := DecodeDelta(b)
		if err != nil {
			return
		}
		again, ok := EncodeDelta(d, MaxDelta+1)
		if !ok {
			t.Fatalf("a delta that was decoded is too large to encode")
		}
		if d2, err := DecodeDelta(again); err != nil || !reflect.DeepEqual(d, d2) {
			t.Fatalf("%v became %v, %v", d, d2, err)
		}
	})
}

func FuzzDecodeSnapshot(f *testing.F) {
	s, err := New("a", Snapshot{})
	if err != nil {
		f.Fatal(err)
	}
	for _, key := range []string{"service/x", "service/y", "node/a"} {
		if _, err := s.Put(key, []byte("{}")); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(s.Snapshot().Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		snap, err := DecodeSnapshot(b)
		if err != nil {
			return
		}
		if again := snap.Encode(); !bytes.Equal(again, b) {
			t.Fatalf("%x\nencodes to\n%x", b, again)
		}
		if _, err := New("a", snap); err != nil {
			t.Fatalf("a decoded snapshot makes no store: %v", err)
		}
	})
}

// report is of the size that a Pi with a few tasks publishes.
func report(t *testing.T, tasks int) []byte {
	t.Helper()
	r := cluster.Report{
		Node: cluster.Description{
			Hostname: "pi3", Address: "192.168.178.23", MAC: "b8:27:eb:4f:1a:9c", Subnet: "10.77.143.0/24",
			Platform: cluster.Platform{OS: "linux", Arch: "arm", Variant: "v6"},
			Capacity: cluster.Amount{MemoryBytes: 448552960, NanoCPUs: 1e9}, MemoryLimit: true,
			Model: "Raspberry Pi Zero W Rev 1.1", Kernel: "6.1.0-rpi7-rpi-v6", Version: "0.1.0", Runtime: "1.6.20",
		},
		Images: []cluster.Image{{
			Name: "docker.io/library/greeter:latest", SizeBytes: 2345678,
			Digest: "sha256:4bc453b53cb3d914b45f4b250294236adba2c0e09ff6f03793949e7e39fd4cc1",
		}},
	}
	for i := range tasks {
		r.Tasks = append(r.Tasks, cluster.TaskStatus{
			ID: fmt.Sprintf("k3j%dzq8w1m%d", i*7919, i), Service: "greeters", ServiceID: "x7c2mfpq90ab", Slot: i + 1,
			SpecVersion: 1, State: cluster.Running, Address: fmt.Sprintf("10.77.143.%d", i+2),
			Since: time.Date(2026, 1, 2, 3, 4, 5+i, 123456789, time.UTC),
		})
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The report of a node with four tasks is to fit into one serf event.
func TestDeltaOfAReportFitsAnEvent(t *testing.T) {
	s := fresh(t, "a1b2c3d4e5f6a7b8")
	key := cluster.ReportKey(s.Self())
	for tasks, limit := range map[int]int{0: 512, 4: 1000} {
		value := report(t, tasks)
		put(t, s, key, string(value))
		b, ok := EncodeDelta(s.Delta(key), limit)
		t.Logf("%d tasks: %d bytes of JSON, %d in the delta", tasks, len(value), len(b))
		if !ok {
			t.Errorf("%d tasks do not fit into %d bytes", tasks, limit)
			continue
		}
		d, err := DecodeDelta(b)
		if err != nil || !reflect.DeepEqual(d, s.Delta(key)) {
			t.Errorf("%d tasks became %v, %v", tasks, d, err)
		}
		for n := range b {
			if _, err := DecodeDelta(b[:n]); err == nil {
				t.Errorf("the first %d of %d bytes pass for a delta", n, len(b))
			}
		}
		if _, err := DecodeDelta(append(b, 0)); err == nil {
			t.Error("a byte too many passes")
		}
	}
	put(t, s, key, string(report(t, 200)))
	if b, ok := EncodeDelta(s.Delta(key), 1000); ok {
		t.Errorf("200 tasks in %d bytes?", len(b))
	}
}

// A few kilobytes that unpack to megabytes must cost no more than MaxDelta.
func TestDeltaOfManyZeroesIsRefused(t *testing.T) {
	var bomb bytes.Buffer
	bomb.WriteByte(deltaDeflate)
	w, err := flate.NewWriter(&bomb, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	zeroes := make([]byte, 1<<20)
	for range 8 {
		if _, err := w.Write(zeroes); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := DecodeDelta(bomb.Bytes())
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint("more than ", MaxDelta)) {
		t.Fatalf("%v, %v", d, err)
	}
}

// A count that promises more than the bytes hold must not make the decoder allocate for it.
func TestCountsAreBoundedByTheBytes(t *testing.T) {
	b := Message{From: "a"}.Encode()
	b = append(b[:len(b)-3], 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0)
	if allocated := testing.AllocsPerRun(10, func() { _, _ = DecodeMessage(b) }); allocated > 20 {
		t.Fatalf("%v allocations", allocated)
	}
	if m, err := DecodeMessage(b); err == nil {
		t.Fatalf("passes: %v", m)
	}
}

// traffic lets two stores become equal and counts the steps and bytes.
func traffic(t *testing.T, a, b *Store) (steps, size, largest int) {
	t.Helper()
	count := func(m Message) {
		n := len(m.Encode())
		size += n
		largest = max(largest, n)
	}
	_, err := a.Exchange(func(m Message) (Message, error) {
		steps++
		count(m)
		reply, _, err := b.Receive(m)
		count(reply)
		return reply, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return steps, size, largest
}

func TestTrafficOfAThousandRecords(t *testing.T) {
	a, b := fresh(t, "a1b2c3d4e5f6a7b8"), fresh(t, "ffeeddccbbaa9988")
	for i := range 1000 {
		put(t, a, fmt.Sprintf("service/greeters-%d", i), `{"n":1}`)
	}
	if steps, size, _ := traffic(t, a, b); steps > 2 || size > 200e3 {
		t.Errorf("all of 1000 records: %d steps, %d bytes", steps, size)
	}
	mustEqual(t, a, b)
	if steps, size, _ := traffic(t, a, b); steps != 1 || size > 1200 {
		t.Errorf("nothing to say: %d steps, %d bytes", steps, size)
	}
	put(t, b, "service/greeters-7", `{"n":2}`)
	steps, size, _ := traffic(t, a, b)
	t.Logf("one of 1000 records changed: %d steps, %d bytes", steps, size)
	if steps > 2 || size > 4000 {
		t.Errorf("one of 1000 records changed: %d steps, %d bytes", steps, size)
	}
	mustEqual(t, a, b)
}

// Messages stay below their limit with the largest records, and with very many; more exchanges bring the rest.
func TestMessagesStayBelowTheLimit(t *testing.T) {
	a, b := fresh(t, "a"), fresh(t, "b")
	large := `"` + strings.Repeat("x", MaxValue-2) + `"`
	for i := range 5 {
		put(t, a, fmt.Sprintf("service/a%d", i), large)
		put(t, b, fmt.Sprintf("service/b%d", i), large)
	}
	for i := range 4000 {
		put(t, a, fmt.Sprintf("service/%s%d", strings.Repeat("k", 200), i), "1")
	}
	rounds := 0
	for ; a.Digest() != b.Digest() && rounds < 100; rounds++ {
		if _, _, largest := traffic(t, a, b); largest > MaxMessage {
			t.Fatalf("a message of %d bytes", largest)
		}
	}
	mustEqual(t, a, b)
	t.Logf("equal after %d exchanges", rounds)
}
