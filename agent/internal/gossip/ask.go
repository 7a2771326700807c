package gossip

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// A question and its answer are user messages of memberlist, so they are encrypted and authenticated as all are. Their
// first byte is none of serf's kinds. memberlist's own Ping will not do: it waits no longer than a probe, and a Pi
// Zero's answer may take 2 s.
//
//	question  'q' number(8) length(1) address-of-asker ID-of-the-asked (empty: whoever is there)
//	answer    'a' number(8) ID-of-the-answerer
const (
	questionKind = 'q'
	answerKind   = 'a'
)

// maxQuestions is how many are sent at most while the patience lasts: of links that lose a third of them, all these
// fail once in forty million times.
const maxQuestions = 16

// asker asks single members whether they live, and answers for this one.
type asker struct {
	id      string
	address netip.AddrPort
	send    func(to netip.AddrPort, id string, message []byte)
	silent  atomic.Bool // this member answers nobody: it is leaving, or has not started yet

	mu      sync.Mutex
	waiting map[uint64]chan<- answer
}

type answer struct {
	number uint64
	id     string
}

// ask asks until an answer comes or the patience is over. It returns who answered, after what time, and how many
// questions before the answered one have had no answer.
func (a *asker) ask(ctx context.Context, id string, address netip.AddrPort, questions int, patience time.Duration) (who string, rtt time.Duration, missed int, ok bool) {
	answers := make(chan answer, questions)
	numbers, sent := make([]uint64, questions), make([]time.Time, questions)
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		for _, n := range numbers {
			delete(a.waiting, n)
		}
	}()
	// The questions are counted, not the time: if this node's processor stands still, it has missed nothing.
	ticker := time.NewTicker(patience / time.Duration(questions))
	defer ticker.Stop()
	for i := range questions {
		numbers[i], sent[i] = rand.Uint64(), time.Now()
		a.mu.Lock()
		a.waiting[numbers[i]] = answers
		a.mu.Unlock()
		a.send(address, id, a.question(numbers[i], id))
		select {
		case <-ctx.Done():
			return "", 0, 0, false
		case got := <-answers:
			for j, n := range numbers {
				if n == got.number {
					return got.id, time.Since(sent[j]), j, true
				}
			}
		case <-ticker.C:
		}
	}
	return "", 0, 0, false
}

func (a *asker) question(number uint64, id string) []byte {
	from, _ := a.address.MarshalBinary() // never fails
	message := binary.BigEndian.AppendUint64([]byte{questionKind}, number)
	message = append(message, byte(len(from)))
	return append(append(message, from...), id...)
}

// heard takes in a message and tells whether it was a question or an answer.
func (a *asker) heard(message []byte) bool {
	if len(message) < 9 || message[0] != questionKind && message[0] != answerKind {
		return false
	}
	number, rest := binary.BigEndian.Uint64(message[1:]), message[9:]
	if message[0] == answerKind {
		a.mu.Lock()
		defer a.mu.Unlock()
		if asked := a.waiting[number]; asked != nil {
			asked <- answer{number, string(rest)} // has room for one a question
			delete(a.waiting, number)
		}
		return true
	}
	if a.silent.Load() || len(rest) == 0 {
		return true
	}
	end := 1 + int(rest[0])
	var from netip.AddrPort
	if len(rest) < end || from.UnmarshalBinary(rest[1:end]) != nil || !from.IsValid() {
		return true
	}
	if asked := string(rest[end:]); asked == "" || asked == a.id {
		a.send(from, "", append(binary.BigEndian.AppendUint64([]byte{answerKind}, number), a.id...))
	}
	return true
}

// beside takes the questions and answers out of what is meant for serf, and what nobody here has to ask serf.
type beside struct {
	memberlist.Delegate
	asker *asker
}

func (b beside) NotifyMsg(message []byte) {
	if !b.asker.heard(message) && !query(message) {
		b.Delegate.NotifyMsg(message)
	}
}
