package replication

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/piswarm/piswarm/pkg/state"
)

// The first byte of a gossip message says what follows.
const (
	kindDelta    = 'd' // an encoded state.Delta
	kindAnnounce = 'a' // a digest, then the ID of the node that has what it stands for
)

func deltaMessage(d state.Delta, limit int) ([]byte, bool) {
	body, ok := state.EncodeDelta(d, limit-1)
	return append([]byte{kindDelta}, body...), ok
}

func announceMessage(self string, d state.Digest) []byte {
	return append(appendDigest([]byte{kindAnnounce}, d), self...)
}

// readMessage returns a delta, or the node and the digest that it announced.
func readMessage(b []byte) (d state.Delta, from string, digest state.Digest, err error) {
	if len(b) == 0 {
		return d, "", digest, errors.New("empty message")
	}
	switch b[0] {
	case kindDelta:
		d, err = state.DecodeDelta(b[1:])
		return d, "", digest, err
	case kindAnnounce:
		digest, rest, err := readDigest(b[1:])
		if err == nil && (len(rest) == 0 || len(rest) > 64) {
			err = errors.New("announcement without a node")
		}
		return d, string(rest), digest, err
	}
	return d, "", digest, fmt.Errorf("message of unknown kind %#x", b[0])
}

func appendDigest(b []byte, d state.Digest) []byte {
	return append(binary.BigEndian.AppendUint64(b, d.Horizon), d.Sum[:]...)
}

func readDigest(b []byte) (d state.Digest, rest []byte, err error) {
	if len(b) < 8+len(d.Sum) {
		return d, nil, errors.New("digest cut short")
	}
	d.Horizon = binary.BigEndian.Uint64(b)
	n := copy(d.Sum[:], b[8:])
	return d, b[8+n:], nil
}
