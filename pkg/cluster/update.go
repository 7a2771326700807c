package cluster

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Order says which of two tasks of a slot goes first when one replaces the other.
type Order string

const (
	// OrderAuto is StartFirst where two tasks of the service can run beside each other, else StopFirst.
	OrderAuto  Order = ""
	StartFirst Order = "start-first" // the old one serves until the new one does
	StopFirst  Order = "stop-first"  // the new one starts when the old one has ended
)

// FailureAction says what becomes of an update too many of whose tasks fail.
type FailureAction string

const (
	OnFailurePause    FailureAction = "pause"
	OnFailureContinue FailureAction = "continue"
	OnFailureRollback FailureAction = "rollback"
)

// UpdateConfig says how the tasks of a service are replaced when its spec changes. Docker's defaults are one task at a
// time, watched for 5 s, and a pause after the first failure.
type UpdateConfig struct {
	Parallelism     int           `json:"parallelism"`               // tasks replaced at a time; 0: all
	Delay           time.Duration `json:"delay,omitempty"`           // from a task's success to the next one
	Monitor         time.Duration `json:"monitor,omitempty"`         // how long a new task is watched for failure
	MaxFailureRatio float64       `json:"maxFailureRatio,omitempty"` // 0…1 of the tasks, above which FailureAction is taken
	FailureAction   FailureAction `json:"failureAction,omitempty"`
	Order           Order         `json:"order,omitempty"`
}

// WithDefaults returns the config with docker's defaults where it says nothing. Where FailureAction is given, the zeros
// of Parallelism and Monitor are taken at their word.
func (c UpdateConfig) WithDefaults() UpdateConfig {
	if c.FailureAction == "" {
		c.FailureAction = OnFailurePause
		c.Parallelism, c.Monitor = cmp.Or(c.Parallelism, 1), cmp.Or(c.Monitor, 5*time.Second)
	}
	return c
}

// StartsFirst tells whether the new task of a slot starts before the old one stops.
func (s Spec) StartsFirst(c UpdateConfig) bool {
	if c.Order != OrderAuto {
		return c.Order == StartFirst
	}
	hostPort := slices.ContainsFunc(s.Ports, func(p Port) bool { return p.Mode == PortHost })
	keeps := slices.ContainsFunc(s.Container.Mounts, func(m Mount) bool { return m.Type != MountTmpfs })
	return !hostPort && !keeps && len(s.Container.Devices) == 0
}

func (c UpdateConfig) validate(flag string, actions ...FailureAction) error {
	if c == (UpdateConfig{}) { // in a spec of an older version
		return nil
	}
	if c.Parallelism < 0 || c.Parallelism > MaxReplicas {
		return fmt.Errorf("--%s-parallelism %d is not possible: want 1 or more, or 0 for all at once", flag, c.Parallelism)
	}
	for _, d := range []struct {
		name string
		time.Duration
	}{{"delay", c.Delay}, {"monitor", c.Monitor}} {
		if d.Duration < 0 || d.Duration > maxPolicyTime {
			return fmt.Errorf("--%s-%s %s is not possible: want 0s to %s, for example 10s", flag, d.name, d.Duration, maxPolicyTime)
		}
	}
	if !(c.MaxFailureRatio >= 0 && c.MaxFailureRatio <= 1) { // also refuses NaN
		return fmt.Errorf("--%s-max-failure-ratio %g is not possible: want 0 to 1, for example 0.2", flag, c.MaxFailureRatio)
	}
	if !slices.Contains(actions, c.FailureAction) {
		return fmt.Errorf("unknown --%s-failure-action %q: want one of %v", flag, shorten(string(c.FailureAction)), actions)
	}
	switch c.Order {
	case OrderAuto, StartFirst, StopFirst:
		return nil
	}
	return fmt.Errorf("unknown --%s-order %q: want start-first or stop-first", flag, shorten(string(c.Order)))
}

// UpdateState is how far a change of a service is, in docker's words.
type UpdateState string

const (
	Updating          UpdateState = "updating"
	UpdatePaused      UpdateState = "paused"
	UpdateCompleted   UpdateState = "completed"
	RollbackStarted   UpdateState = "rollback_started"
	RollbackPaused    UpdateState = "rollback_paused"
	RollbackCompleted UpdateState = "rollback_completed"
)

// Update is how far the tasks of a service follow its spec.
type Update struct {
	// Generation is the service's that this is about. A later one is a new update.
	Generation uint64 `json:"generation,omitempty"`
	// State is empty for a service that was never changed.
	State UpdateState `json:"state,omitempty"`
	// Base is the highest Attempt of a task when it began. Tasks above it are those that it placed.
	Base uint64 `json:"base,omitempty"`
	// Failed lists, sorted, the IDs of the tasks of the new spec that failed.
	Failed []string `json:"failed,omitempty"`
	// Message says, for people, why the update is paused or went back.
	Message string `json:"message,omitempty"`
}

// Paused tells whether no task is replaced until the user changes the service again.
func (u Update) Paused() bool { return u.State == UpdatePaused || u.State == RollbackPaused }

// Revision is a spec that a service had.
type Revision struct {
	Spec        Spec   `json:"spec"`
	SpecVersion uint64 `json:"specVersion"`
	// Failed says that its update failed and was rolled back, so that nothing goes back to it.
	Failed bool `json:"failed,omitempty"`
}

// maxPast is how many specs a service remembers: that of a rollback, and those of tasks that updates in quick
// succession have left running.
const maxPast = 3

// ErrNoPrevious says that there is nothing to go back to.
var ErrNoPrevious = errors.New("it has no earlier spec: it was not updated, or the update was rolled back already")

// SpecOf returns the spec that tasks of that version were made from, as far as it is remembered.
func (s Service) SpecOf(version uint64) (Spec, bool) {
	if version == s.SpecVersion {
		return s.Spec, true
	}
	for _, r := range s.Past {
		if r.SpecVersion == version {
			return r.Spec, true
		}
	}
	return Spec{}, false
}

// Changed returns the service with another spec, which is as it would be stored.
func (s Service) Changed(spec Spec, now time.Time) Service {
	return s.turn(spec, s.versionFor(spec), false, now)
}

// RolledBack returns the service with the spec that it had before; failed says that this is because the present one
// failed. The number of replicas stays as it is.
func (s Service) RolledBack(failed bool, now time.Time) (Service, error) {
	for _, r := range s.Past {
		if !r.Failed {
			out := s.turn(r.Spec, r.SpecVersion, failed, now)
			out.RollingBack = true
			return out, nil
		}
	}
	return s, fmt.Errorf("service %s: %w", s.Spec.Name, ErrNoPrevious)
}

// Scaled returns the service with another number of replicas. That holds for the specs of before, too: it is how much
// is needed today, whatever version serves it.
func (s Service) Scaled(replicas int, now time.Time) Service {
	s.Spec.Replicas, s.UpdatedAt = replicas, now
	s.Past = slices.Clone(s.Past)
	for i := range s.Past {
		s.Past[i].Spec.Replicas = replicas
	}
	return s
}

func (s Service) turn(spec Spec, version uint64, failed bool, now time.Time) Service {
	past := []Revision{{Spec: s.Spec, SpecVersion: s.SpecVersion, Failed: failed}}
	for _, r := range s.Past {
		// Of one version only the latest spec is worth remembering, and the present one is at hand.
		if r.SpecVersion != s.SpecVersion && r.SpecVersion != version && len(past) < maxPast {
			past = append(past, r)
		}
	}
	s.Spec, s.SpecVersion, s.Past, s.RollingBack = spec, version, past, false
	s.UpdatedAt, s.ChangedAt = now, now
	s.Generation++
	return s
}

// versionFor returns the version of a spec: that of the present one or an earlier one, if its tasks would be the same.
func (s Service) versionFor(spec Spec) uint64 {
	if !NeedsNewTasks(s.Spec, spec) {
		return s.SpecVersion
	}
	for _, r := range s.Past {
		if !NeedsNewTasks(r.Spec, spec) {
			return r.SpecVersion
		}
	}
	version := SpecVersion(spec)
	for {
		if _, taken := s.SpecOf(version); !taken {
			return version
		}
		version++
	}
}

// SpecVersion returns the version of a new spec: a number that follows from what its tasks are made of, so that two
// different changes made on the two sides of a partition do not pass for one. It has 52 bits, which every reader of
// JSON takes for a whole number.
func SpecVersion(s Spec) uint64 {
	c := s.Container
	c.Platforms = nil
	raw, err := json.Marshal(struct {
		Container Container
		Resources Resources
		Force     uint64
	}{c, s.Resources, s.Force})
	if err != nil {
		panic(err) // plain data
	}
	sum := sha256.Sum256(raw)
	return max(1, binary.BigEndian.Uint64(sum[:])>>12)
}
