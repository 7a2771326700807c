package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/piswarm/piswarm/pkg/state"
)

// Contents is what the file holds.
type Contents struct {
	State state.Snapshot
	Peers []string // addresses of other nodes, to look for them before mDNS has found them
}

// Limits of what is read from disk or written there.
const (
	maxFile  = 64 << 20 // bytes
	maxPeers = 1024
	maxPeer  = 256 // bytes of an address
)

// header begins every file. A release that changes what follows changes the number.
const header = "piswarm state 1\n"

// encode returns the bytes of the file: the header, a checksum of all that follows, the peers, the state.
func encode(c Contents) ([]byte, error) {
	if len(c.Peers) > maxPeers {
		return nil, fmt.Errorf("%d peers, more than %d", len(c.Peers), maxPeers)
	}
	body := binary.AppendUvarint(nil, uint64(len(c.Peers)))
	for _, p := range c.Peers {
		if len(p) > maxPeer {
			return nil, fmt.Errorf("peer %.40q…: longer than %d bytes", p, maxPeer)
		}
		body = binary.AppendUvarint(body, uint64(len(p)))
		body = append(body, p...)
	}
	body = append(body, c.State.Encode()...)
	out := seal(body)
	if len(out) > maxFile {
		return nil, fmt.Errorf("%d bytes, more than %d", len(out), maxFile)
	}
	return out, nil
}

// seal puts the header and the checksum before the rest of a file.
func seal(body []byte) []byte {
	sum := sha256.Sum256(body)
	return slices.Concat([]byte(header), sum[:], body)
}

var errCut = errors.New("cut short")

// decode reads what encode wrote and refuses anything else.
func decode(b []byte) (Contents, error) {
	body, ok := bytes.CutPrefix(b, []byte(header))
	if !ok {
		return Contents{}, errors.New("the header is not that of a state file of this release")
	}
	if len(body) < sha256.Size {
		return Contents{}, errCut
	}
	sum, body := [sha256.Size]byte(body), body[sha256.Size:]
	if sha256.Sum256(body) != sum {
		return Contents{}, errors.New("the checksum does not match")
	}
	var c Contents
	n, body, err := uvarint(body, maxPeers)
	for ; err == nil && n > 0; n-- {
		var size uint64
		if size, body, err = uvarint(body, maxPeer); err == nil && size > uint64(len(body)) {
			err = errCut
		}
		if err == nil {
			c.Peers = append(c.Peers, string(body[:size]))
			body = body[size:]
		}
	}
	if err != nil {
		return Contents{}, fmt.Errorf("peers: %w", err)
	}
	if c.State, err = state.DecodeSnapshot(body); err != nil {
		return Contents{}, err
	}
	return c, nil
}

// uvarint takes a number of at most limit off the front of b.
func uvarint(b []byte, limit uint64) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 || n > 1 && b[n-1] == 0 { // Only the shortest form of a number, so that a file has one form.
		return 0, nil, errCut
	}
	if v > limit {
		return 0, nil, fmt.Errorf("%d, more than %d", v, limit)
	}
	return v, b[n:], nil
}
