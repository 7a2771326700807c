package gossip

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
)

// FuzzAsk: a message is answered once at most, to a valid address, with a few bytes, and never on an answer; it is
// serf's unless it is a question or an answer.
func FuzzAsk(f *testing.F) {
	at := netip.MustParseAddrPort("192.168.1.20:7946")
	fresh := func(sent *[][]byte) *asker {
		return &asker{id: "aaaa1111", address: at, waiting: map[uint64]chan<- answer{}, send: func(to netip.AddrPort, _ string, message []byte) {
			if !to.IsValid() {
				panic("an answer to no address")
			}
			*sent = append(*sent, message)
		}}
	}
	seed := fresh(nil)
	f.Add(seed.question(7, "aaaa1111"))
	f.Add(seed.question(7, ""))
	f.Add(append([]byte{answerKind, 0, 0, 0, 0, 0, 0, 0, 7}, "aaaa1111"...))
	f.Add([]byte{questionKind, 0, 0, 0, 0, 0, 0, 0, 7, 255, 1})
	f.Fuzz(func(t *testing.T, message []byte) {
		var sent [][]byte
		a := fresh(&sent)
		answers := make(chan answer, 1)
		a.waiting[7] = answers
		ours := a.heard(message)
		if want := len(message) >= 9 && (message[0] == questionKind || message[0] == answerKind); ours != want {
			t.Fatalf("%x: taken %v, want %v", message, ours, want)
		}
		if len(sent) > 1 || len(sent) == 1 && (message[0] != questionKind || len(sent[0]) != 9+len(a.id) || !bytes.Equal(sent[0][1:9], message[1:9])) {
			t.Fatalf("%x is answered with %x", message, sent)
		}
		select {
		case got := <-answers:
			if message[0] != answerKind || got.number != 7 || got.id != string(message[9:]) {
				t.Fatalf("%x is the answer %+v", message, got)
			}
		default:
		}
		// The same once more, as a recorder of the LAN would send it, finds nobody waiting.
		done := make(chan bool)
		go func() { done <- a.heard(message) }()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatalf("%x: stuck", message)
		}
	})
}
