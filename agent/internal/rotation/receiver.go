package rotation

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/piswarm/piswarm/agent/internal/trust"
)

// Do is what a step does.
type Do string

// The steps, in their order; Drop takes Install back.
const (
	Hold    Do = "hold"
	Install Do = "install"
	Use     Do = "use"
	Finish  Do = "finish"
	Drop    Do = "drop"
	Release Do = "release"
)

// Step is what a driver tells a node to do.
type Step struct {
	Do Do `json:"do"`
	// Token carries the new secret; only with Install.
	Token string `json:"token,omitempty"`
	// Cluster names a secret by its public ID, for Use, Finish and Drop.
	Cluster string `json:"cluster,omitempty"`
}

// State is what a node answers, by the public IDs of its secrets.
type State struct {
	Primary string `json:"primary"`
	Other   string `json:"other,omitempty"`
	Coming  bool   `json:"coming,omitempty"`
	// Former are IDs of before, as the cluster remembers them.
	Former []string `json:"former,omitempty"`
}

// StateOf is the state of a node with that keyring.
func StateOf(k trust.Keyring) State {
	s := State{Primary: k.Primary.ClusterID(), Coming: k.Coming}
	if k.Moving() {
		s.Other = k.Other.ClusterID()
	}
	return s
}

// leaseTime is how long a node stays reserved for a driver that says nothing.
const leaseTime = 30 * time.Second

// Receiver takes the steps on one node.
type Receiver struct {
	// Change replaces the keyring by what turn makes of it: on disk first, then in use. If turn fails, nothing changes.
	Change func(turn func(trust.Keyring) (trust.Keyring, error)) (trust.Keyring, error)
	// Ready tells whether a node is a ready member.
	Ready func(node string) bool

	mu     sync.Mutex
	driver string
	until  time.Time
}

var errStep = errors.New("a step that this version of piswarm does not know")

// Take takes a step for a driver. When it returns without an error, the step is on disk.
func (r *Receiver) Take(from string, step Step) (State, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if driver := r.drivenBy(now); driver != "" && driver != from {
		return State{}, fmt.Errorf("node %s is changing the token just now: wait until it is done", driver)
	} else if driver == "" && step.Do != Hold && step.Do != Install && step.Do != Release {
		return State{}, errors.New("the change of the token has taken too long and is broken off: run `piswarm token rotate` again")
	}
	turn, err := step.turn()
	if err != nil {
		return State{}, err
	}
	k, err := r.Change(turn)
	if err != nil {
		return State{}, err
	}
	if r.driver, r.until = from, now.Add(leaseTime); step.Do == Release {
		r.driver = ""
	}
	return StateOf(k), nil
}

// Driver returns the node that is moving this one to another secret just now, or "".
func (r *Receiver) Driver() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.drivenBy(time.Now())
}

func (r *Receiver) drivenBy(now time.Time) string {
	if r.driver == "" || now.After(r.until) || !r.Ready(r.driver) {
		return ""
	}
	return r.driver
}

// turn is what the step makes of a keyring.
func (s Step) turn() (func(trust.Keyring) (trust.Keyring, error), error) {
	switch s.Do {
	case Hold, Release:
		return func(k trust.Keyring) (trust.Keyring, error) { return k, nil }, nil
	case Install:
		next, err := trust.ParseToken(s.Token)
		if err != nil {
			return nil, err
		}
		return func(k trust.Keyring) (trust.Keyring, error) { return k.Install(next) }, nil
	case Use:
		return s.named(trust.Keyring.Use), nil
	case Finish:
		return s.named(trust.Keyring.Finish), nil
	case Drop:
		return s.named(trust.Keyring.Drop), nil
	}
	return nil, errStep
}

// named does something with the one of the keyring's secrets that the step names, or with none.
func (s Step) named(do func(trust.Keyring, trust.Secret) (trust.Keyring, error)) func(trust.Keyring) (trust.Keyring, error) {
	return func(k trust.Keyring) (trust.Keyring, error) {
		for _, secret := range k.Secrets() {
			if secret.ClusterID() == s.Cluster {
				return do(k, secret)
			}
		}
		return do(k, trust.Secret{})
	}
}

// Follow returns what a node should hold that has heard of no driver for a while and now hears what a member goes by.
// One that goes by the secret to come shows that all were given it; one that has forgotten the former, that all go by
// the new.
func Follow(k trust.Keyring, member State) trust.Keyring {
	switch {
	case k.Coming && k.Moving() && member.Primary == k.Other.ClusterID():
		return trust.Keyring{Primary: k.Other, Other: k.Primary}
	case k.Moving() && !k.Coming && member.Primary == k.Primary.ClusterID() && member.Other == "":
		return trust.Keyring{Primary: k.Primary}
	}
	return k
}
