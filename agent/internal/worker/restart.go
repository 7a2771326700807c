package worker

import (
	"slices"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// Pauses before a task that ended is run again: none the first time, then doubled from docker's tenth of a
// second to its minute. One that ran for a while starts afresh.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = time.Minute
	stable     = 10 * time.Second
)

// pause returns how long to wait after so many failures one after the other.
func pause(failures int) time.Duration {
	if failures <= 1 {
		return 0
	}
	if failures > 12 {
		return lastPause
	}
	return min(firstPause<<(failures-2), lastPause)
}

// again decides whether a task of the spec whose container ended is run again, and counts it as an attempt if so.
// attempts are those before, on the monotonic clock.
func again(s cluster.Spec, failed bool, attempts []time.Time, now time.Time) (bool, []time.Time) {
	policy := s.Restart
	if !policy.Again(failed) || s.Mode.Job() && !failed {
		return false, attempts
	}
	if policy.MaxAttempts == 0 {
		return true, nil
	}
	if policy.Window > 0 {
		attempts = slices.DeleteFunc(attempts, func(at time.Time) bool { return now.Sub(at) >= policy.Window })
	}
	if len(attempts) >= policy.MaxAttempts {
		return false, attempts
	}
	return true, append(attempts, now)
}
