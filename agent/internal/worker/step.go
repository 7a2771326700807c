package worker

import (
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
)

// step is the next thing to do for a task. One look asks for one step forward; what it leads to is the next
// look's business.
type step string

const (
	rest   step = "rest"   // all is well, or nothing can be done yet
	fetch  step = "fetch"  // bring the image here
	follow step = "follow" // wait for the end of the task that it follows
	start  step = "start"  // make the container and start it
	retire step = "retire" // let every node know that it gets no new connections any more
	finish step = "finish" // let the connections that it has come to their end
	count  step = "count"  // see how many are left
	stop   step = "stop"   // end the container
	cure   step = "cure"   // end a container that is unhealthy
	bury   step = "bury"   // take away a container that ended, with what it leaves behind
	forget step = "forget" // nothing is left of a task that nobody wants
)

// ends tells whether the step takes away a container or what is left of one.
func (s step) ends() bool { return s == stop || s == cure || s == bury || s == forget }

// facts are all that the next step depends on.
type facts struct {
	wanted bool
	// known is false while this node cannot tell whether the task is wanted: its service has no plan yet.
	known bool
	// barred says that the task's service is not to run on this side of a partition, whatever is planned.
	barred    bool
	leaving   bool             // the node is shutting down
	container containers.State // empty: there is none
	sick      time.Time        // since when it has failed its check too often; zero: it has not
	misplaced bool             // its address is none of this node's, so that nobody reaches it
	image     bool             // is on this node
	unknown   bool             // nobody remembers what its containers are made of
	final     bool             // it has ended and is not run again
	notBefore time.Time        // end of the pause after a failure to run
	endAfter  time.Time        // end of the pause after a failure to end
	follows   time.Time        // until then it waits for the end of another task; zero: for none
	parting   parting          // of one that runs and is not to
	patience  time.Duration    // for its connections
}

// next decides. What has just failed is not tried again at once. The second result says when to look again, for a task that
// only waits for the time to pass.
func next(f facts, now time.Time) (step, time.Duration) {
	do, again := wish(f, now)
	if do.ends() && now.Before(f.endAfter) {
		return rest, f.endAfter.Sub(now)
	}
	return do, again
}

// wish is what next decides where nothing failed.
func wish(f facts, now time.Time) (step, time.Duration) {
	if !f.known {
		return rest, 0
	}
	switch f.container {
	case containers.Running:
		switch {
		case f.misplaced: // one that is wanted is then started anew, with another address
			return stop, 0
		case !f.wanted || f.barred:
			return part(f, now)
		case f.sick.IsZero():
			return rest, 0
		case now.Sub(f.sick) < lastWord: // until the nodes, which hear of it, lead nobody to it
			return rest, lastWord - now.Sub(f.sick)
		}
		return cure, 0
	case containers.Created: // left half-made
		switch {
		case !f.wanted || f.barred || f.leaving || f.unknown:
			return bury, 0
		case now.Before(f.notBefore):
			return rest, f.notBefore.Sub(now)
		}
		return start, 0
	case containers.Stopped:
		if f.wanted && f.final { // a restarted agent learns from it how the task ended, until the leader has written it down
			return rest, 0
		}
		return bury, 0
	}
	switch {
	case !f.wanted:
		return forget, 0
	case f.barred || f.leaving || f.final || f.unknown:
		return rest, 0
	case now.Before(f.notBefore):
		return rest, f.notBefore.Sub(now)
	case !f.image:
		return fetch, 0
	case now.Before(f.follows):
		return follow, f.follows.Sub(now)
	default:
		return start, 0
	}
}
