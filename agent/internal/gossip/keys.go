package gossip

import (
	"bytes"
	"fmt"

	"github.com/hashicorp/memberlist"
)

// keyring is memberlist's of the keys in the configuration. There always is one: without it, memberlist would speak in
// the clear.
func keyring(cfg Config) (*memberlist.Keyring, error) {
	var others [][]byte
	if cfg.Other != nil {
		others = [][]byte{cfg.Other}
	}
	return memberlist.NewKeyring(others, cfg.Key)
}

// SetKeys encrypts with key from now on, and understands packets by key and by other, which may be nil, and by no third.
func (g *Gossip) SetKeys(key, other []byte) error {
	wanted := func(k []byte) bool { return bytes.Equal(k, key) || bytes.Equal(k, other) }
	// Twice: what is used until now goes last, and it goes from the end of the ring. memberlist reads the ring without
	// its lock, which a removal from the middle would disturb.
	for _, step := range []func() error{
		func() error { return g.dropKeys(wanted) },
		func() error { return g.keys.AddKey(key) },
		func() error { return g.keys.UseKey(key) },
		func() error { return g.dropKeys(wanted) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("change the key of the gossip: %w", err)
		}
	}
	if other == nil {
		return nil
	}
	if err := g.keys.AddKey(other); err != nil {
		return fmt.Errorf("change the key of the gossip: %w", err)
	}
	return nil
}

// dropKeys removes the keys that are not wanted, but for the one in use.
func (g *Gossip) dropKeys(wanted func([]byte) bool) error {
	keys := g.keys.GetKeys()
	for i := len(keys) - 1; i > 0; i-- {
		if !wanted(keys[i]) {
			if err := g.keys.RemoveKey(keys[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// These of serf's kinds of messages are queries and the answers to them (serf, messages.go). Nobody here asks any, and
// serf answers some by itself: with its keys, which while the keys change would tell the new one to whoever knows the
// old, and with new keys of whoever asks.
const (
	firstQuery = 4 // a query, its answer, of a conflict of names, of keys, and
	lastQuery  = 9 // a message to hand on
)

func query(message []byte) bool {
	return len(message) > 0 && message[0] >= firstQuery && message[0] <= lastQuery
}
