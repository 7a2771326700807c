package cluster

import (
	"fmt"
	"time"
)

// RestartCondition says after which ends a task is run again.
type RestartCondition string

const (
	RestartAny       RestartCondition = "any"
	RestartOnFailure RestartCondition = "on-failure" // not after exit code 0
	RestartNone      RestartCondition = "none"
)

// RestartPolicy says whether and when a task that ended is run again.
type RestartPolicy struct {
	// Condition is RestartAny by default, RestartOnFailure for jobs.
	Condition RestartCondition `json:"condition,omitempty"`
	// Delay before each restart. Zero is the node's own: at once the first time, then with doubled pauses.
	Delay time.Duration `json:"delay,omitempty"`
	// MaxAttempts is how often a task is restarted within Window before it is given up; 0: no limit.
	MaxAttempts int `json:"maxAttempts,omitempty"`
	// Window is the time over which attempts are counted; 0: for ever.
	Window time.Duration `json:"window,omitempty"`
}

// maxPolicyTime bounds the durations of policies.
const maxPolicyTime = 24 * time.Hour

// Again tells whether a task whose container ended is run again, as far as the condition goes.
func (r RestartPolicy) Again(failed bool) bool {
	switch r.Condition {
	case RestartNone:
		return false
	case RestartOnFailure:
		return failed
	}
	return true
}

func (s Spec) validateRestart() error {
	r := s.Restart
	switch r.Condition {
	case "", RestartAny, RestartOnFailure, RestartNone: // none given, in a spec of an older version: any
	default:
		return fmt.Errorf("unknown --restart-condition %q: want any, on-failure or none", shorten(string(r.Condition)))
	}
	if s.Mode.Job() && r.Condition == RestartAny {
		return fmt.Errorf("--restart-condition any would run a job for ever: want on-failure or none")
	}
	for _, d := range []struct {
		flag string
		time.Duration
	}{{"delay", r.Delay}, {"window", r.Window}} {
		if d.Duration < 0 || d.Duration > maxPolicyTime {
			return fmt.Errorf("--restart-%s %s is not possible: want 0s to %s, for example 5s", d.flag, d.Duration, maxPolicyTime)
		}
	}
	if r.MaxAttempts < 0 {
		return fmt.Errorf("--restart-max-attempts %d is not possible: want 1 or more, or 0 for no limit", r.MaxAttempts)
	}
	return nil
}
