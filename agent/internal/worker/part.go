package worker

import "time"

// parting is how far the end has come of a task that runs and is not to run here any more. Nobody who talks to it
// shall notice: first it may yet be taken back, then every node stops to lead new connections to it, then those that
// it has come to their end, and only then it is told to stop.
type parting struct {
	held      time.Time // until then the leader may yet put it into its plan
	doubted   time.Time // since when it is held
	retired   time.Time // since when it is to go; zero: not yet
	released  bool      // no node leads new connections to it
	finishing time.Time // since when it gets none; zero: it may still get some
	counted   time.Time // when its connections were counted last
	open      int       // as many there were
}

const (
	// holdLimit is how long a leader that did not make the plan before may take to find what runs here and take it
	// into its own. Its answer to a report takes a fraction of a second; the rest is for a busy Pi Zero.
	holdLimit = 5 * time.Second
	// maxHold is after how long nothing makes the worker hold a task anew. A node whose link comes and goes gives reason
	// for doubt for as long as it does.
	maxHold = 30 * time.Second
	// releaseLimit bounds the wait for the nodes to stop leading connections to a task. They take a fraction of a
	// second; one that is just restarting takes longer, and is not waited for.
	releaseLimit = 3 * time.Second
	// hurriedRelease is the same for a task that must not run on this side of a partition.
	hurriedRelease = time.Second
	// lastWord is how long a task that gets no new connections runs on at least: the nodes, told that it ends, forget
	// meanwhile what they remember of ended connections to it (network.FlushFinished).
	lastWord = 500 * time.Millisecond
	// countEvery is how often the connections of a task are counted. Most requests are shorter.
	countEvery = 250 * time.Millisecond
	// maxPatience bounds how long connections may go on. An unused one that a client keeps open does not end.
	maxPatience = 10 * time.Second
)

// part decides about a task that runs and is not to.
func part(f facts, now time.Time) (step, time.Duration) {
	p, release := f.parting, releaseLimit
	if f.barred {
		release = hurriedRelease
	}
	switch {
	case now.Before(p.held) && !f.barred:
		return rest, p.held.Sub(now)
	case p.retired.IsZero():
		return retire, 0
	case p.finishing.IsZero() && (p.released || now.Sub(p.retired) >= release):
		return finish, 0
	case p.finishing.IsZero():
		return rest, release - now.Sub(p.retired)
	case f.barred || now.Sub(p.finishing) >= f.patience:
		return stop, 0
	case p.counted.IsZero() || p.open > 0 && now.Sub(p.counted) >= countEvery:
		return count, 0
	case p.open > 0:
		return rest, min(countEvery-now.Sub(p.counted), f.patience-now.Sub(p.finishing))
	case now.Sub(p.finishing) < lastWord:
		return rest, min(lastWord, f.patience) - now.Sub(p.finishing)
	default:
		return stop, 0
	}
}
