package state

import (
	"errors"
	"slices"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// gossip hands the records to everybody as a serf event would: late, twice, or never.
func (l *life) gossip(keys ...string) {
	b, ok := EncodeDelta(l.store.Delta(keys...), 1000)
	if !ok {
		return
	}
	for _, peer := range l.nodes {
		for range 2 {
			d := l.dice()
			if peer == l.simNode || d < 0.3 {
				continue
			}
			delay := time.Duration(d * float64(time.Second))
			if d > 0.95 {
				delay = time.Duration((d - 0.95) * 20 * float64(3*time.Minute))
			}
			time.AfterFunc(delay, func() {
				to := peer.now()
				if to == nil || !l.connected(l.simNode, peer) {
					return
				}
				delta, err := DecodeDelta(b)
				if err != nil {
					l.problem("delta: %v", err)
					return
				}
				to.after(to.store.Merge(delta))
			})
		}
	}
}

// exchange makes this node and a peer equal, if the network lets them.
func (l *life) exchange(peer *simNode) {
	o, err := l.store.Exchange(func(m Message) (Message, error) { return l.send(peer, m, false) })
	if errors.Is(err, errLost) {
		err = nil
	}
	l.after(o, err)
}

// handOver lets two others save the records of the keys, and tells how many of them said that they have.
func (l *life) handOver(keys ...string) int {
	var others []*simNode
	for _, n := range l.nodes {
		if n != l.simNode && n.now() != nil && l.connected(l.simNode, n) {
			others = append(others, n)
		}
	}
	holders := 0
	for len(others) > 0 && holders < 2 {
		i := int(l.dice() * float64(len(others)))
		if reply, err := l.send(others[i], l.store.Offer(keys...), true); err == nil {
			_, o, err := l.store.Receive(reply)
			l.after(o, err)
			holders++
		}
		others = slices.Delete(others, i, i+1)
	}
	return holders
}

// send takes a message to a peer and brings its answer back, each of them only perhaps.
func (l *life) send(peer *simNode, m Message, saved bool) (Message, error) {
	b := m.Encode()
	if !l.hop(peer) {
		return Message{}, errLost
	}
	to := peer.now()
	if to == nil {
		return Message{}, errLost
	}
	reply, err := to.receive(b, saved)
	if err != nil {
		return Message{}, err
	}
	if d := l.dice(); d < 0.05 { // The same packet once more, much later.
		time.AfterFunc(time.Duration(d*20*float64(time.Minute)), func() {
			if to := peer.now(); to != nil {
				_, _ = to.receive(b, saved)
			}
		})
	}
	if !l.hop(peer) {
		return Message{}, errLost
	}
	return DecodeMessage(reply)
}

// receive is a node's end of a packet. A peer that hands records over is answered when they are on the disk; in an
// exchange the state must come right even if the disk is behind.
func (l *life) receive(b []byte, saved bool) ([]byte, error) {
	m, err := DecodeMessage(b)
	if err != nil {
		return nil, err
	}
	reply, o, err := l.store.Receive(m)
	l.after(o, err)
	if size := len(reply.Encode()); size > MaxMessage {
		l.problem("a message of %d bytes", size)
	}
	if saved && slices.ContainsFunc(m.Records, func(r Record) bool { return cluster.Persistent(r.Key) }) && !l.save() {
		return nil, errLost
	}
	return reply.Encode(), err
}

func (l *life) hop(peer *simNode) bool {
	return l.lasts(time.Duration(l.dice()*float64(200*time.Millisecond))) && l.arrives(l.simNode, peer, l.dice())
}
