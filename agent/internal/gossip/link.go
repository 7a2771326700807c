package gossip

import (
	"sync"
	"time"
)

const (
	// minPatience is enough for a wired Pi: a dozen questions, of which any may be lost.
	minPatience = 300 * time.Millisecond
	// maxPatience is for a Pi Zero on Wi-Fi with power save, whose answers take up to 2 s, and for one not known yet.
	maxPatience = 3 * time.Second
	// knownAfter is how many answers make a link known.
	knownAfter = 3
)

// link is what was seen of the way to a member and back.
type link struct {
	answers   int
	rtt       time.Duration // smoothed, as TCP does it (RFC 6298)
	deviation time.Duration
	slowest   time.Duration // of the last few hundred answers, fading
	loss      float64       // share of the questions that are not answered
}

// answered takes in an answer and how many questions before it had none. A member that is dead answers nothing, so
// what it misses does not count: only who answers can have a bad link.
func (l *link) answered(rtt time.Duration, missed int) {
	if l.answers == 0 {
		l.rtt, l.deviation = rtt, rtt/2
	} else {
		l.deviation += ((rtt - l.rtt).Abs() - l.deviation) / 4
		l.rtt += (rtt - l.rtt) / 8
	}
	l.answers++
	l.slowest = max(rtt, l.slowest-l.slowest/256)
	for range missed {
		l.loss += (1 - l.loss) / 8
	}
	l.loss -= l.loss / 64 // slowly: probes that are not answered are seen nowhere, only those that are
}

// wronged takes in that a member counted as dead and was back so soon that it can only have been slow.
func (l *link) wronged() { l.slowest = maxPatience }

// patience is how long a member may be silent when it is asked, before it counts as dead.
func (l *link) patience() time.Duration {
	if l.answers < knownAfter {
		return maxPatience
	}
	// Wi-Fi shows by a few milliseconds more than a wire has, and may be a hundred times slower a moment later.
	p := minPatience + 20*l.rtt + 8*l.deviation + time.Duration(l.loss*float64(maxPatience))
	return min(max(p, l.slowest*3/2), maxPatience)
}

// links are those to all members.
type links struct {
	mu  sync.Mutex
	all map[string]*link
}

func (l *links) answered(id string, rtt time.Duration, missed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to(id).answered(rtt, missed)
}

func (l *links) wronged(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to(id).wronged()
}

// to returns the link to a member; mu is held.
func (l *links) to(id string) *link {
	if l.all[id] == nil {
		l.all[id] = &link{}
	}
	return l.all[id]
}

func (l *links) patience(id string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to(id).patience()
}

// forget drops what is known of a member that is gone for good.
func (l *links) forget(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, id)
}
