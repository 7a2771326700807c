package trust

import "errors"

// Keyring is what a node holds of its cluster's secrets: the one that it goes by, and while the cluster moves from one
// to the next at most one other that it accepts besides. A move takes each node through three steps:
//
//	primary A               before
//	primary A, next B       Install: whoever goes by B already is understood
//	primary B, former A     Use: whoever still goes by A is understood
//	primary B               Finish: A opens nothing any more
//
// A step is begun only when every member has done the one before, so that two members at any two neighbouring steps
// understand each other, and a move that is broken off anywhere leaves one cluster.
type Keyring struct {
	// Primary is what this node shows and encrypts with.
	Primary Secret
	// Other is accepted besides; zero: none.
	Other Secret
	// Coming says that Other is the secret to come, not the one of before.
	Coming bool
}

// Errors of a step that does not fit.
var (
	errUnfinished = errors.New("this node has not done with the change of the token before this one")
	errNotThere   = errors.New("this node was not given that secret before")
	errInUse      = errors.New("this node goes by that secret already")
)

// Moving tells whether two secrets hold.
func (k Keyring) Moving() bool { return !k.Other.IsZero() }

// Accepts tells whether a secret is one of those that hold.
func (k Keyring) Accepts(s Secret) bool { return s.Equal(k.Primary) || k.Moving() && s.Equal(k.Other) }

// Secrets are those that hold, the primary first.
func (k Keyring) Secrets() []Secret {
	if k.Moving() {
		return []Secret{k.Primary, k.Other}
	}
	return []Secret{k.Primary}
}

// Install accepts the secret to come. One that was to come, and that nobody goes by, gives way to it.
func (k Keyring) Install(next Secret) (Keyring, error) {
	switch {
	case next.IsZero():
		return k, errNotThere
	case k.Accepts(next):
		return k, nil
	case k.Moving() && !k.Coming:
		return k, errUnfinished
	}
	return Keyring{Primary: k.Primary, Other: next, Coming: true}, nil
}

// Use makes the secret to come the one that this node goes by.
func (k Keyring) Use(next Secret) (Keyring, error) {
	switch {
	case next.Equal(k.Primary):
		return k, nil
	case !k.Moving() || !k.Coming || !next.Equal(k.Other):
		return k, errNotThere
	}
	return Keyring{Primary: next, Other: k.Primary}, nil
}

// Finish forgets the secret of before.
func (k Keyring) Finish(next Secret) (Keyring, error) {
	if !next.Equal(k.Primary) {
		return k, errNotThere
	}
	return Keyring{Primary: k.Primary}, nil
}

// Drop takes Install back.
func (k Keyring) Drop(next Secret) (Keyring, error) {
	if next.Equal(k.Primary) {
		return k, errInUse
	}
	if k.Moving() && k.Coming && next.Equal(k.Other) {
		return Keyring{Primary: k.Primary}, nil
	}
	return k, nil
}
