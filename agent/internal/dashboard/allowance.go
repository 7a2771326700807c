package dashboard

import "time"

const (
	// Between two looks at the cluster there is a pause within these bounds.
	minPause, maxPause = 250 * time.Millisecond, 2 * time.Second
	// In the long run, looking takes at most one part in so many of a core.
	looking = 200
	// mostSpared is how long it may take in a row after a quiet time: what somebody does is seen at once, and again with
	// all that comes of it.
	mostSpared = 100 * time.Millisecond
)

// allowance is the time that looking may take. It grows while nobody looks, and is in debt while there has been too much.
type allowance struct {
	spared time.Duration
	at     time.Time
}

func newAllowance(now time.Time) *allowance { return &allowance{mostSpared, now} }

// pause returns how long to wait after a look that took so long and ended now.
func (a *allowance) pause(now time.Time, took time.Duration) time.Duration {
	a.spared = min(a.spared+now.Sub(a.at)/looking, mostSpared) - took
	a.at = now
	// What maxPause does not let it wait for is forgotten, lest one slow look have many slow ones behind it.
	a.spared = max(a.spared, -maxPause/looking)
	return min(max(-a.spared*looking, minPause), maxPause)
}
