package trust

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
	"unique"
)

// secretBytes is the length of the cluster's secret.
const secretBytes = 32

// Secret is the cluster's secret. Its zero value is no secret. It never prints itself. What it holds is a handle: the
// trace of a crash, which shows the first bytes of what functions were called with, shows none of the secret's.
type Secret struct {
	handle unique.Handle[[secretBytes]byte]
}

// raw is the secret itself, all zero if there is none.
func (s Secret) raw() (raw [secretBytes]byte) {
	if s != (Secret{}) {
		raw = s.handle.Value()
	}
	return raw
}

// String hides the secret from logs and error texts.
func (Secret) String() string { return "[secret]" }

// GoString does the same for %#v.
func (Secret) GoString() string { return "[secret]" }

// NewSecret draws a new secret from the system's random source.
func NewSecret() Secret {
	var raw [secretBytes]byte
	rand.Read(raw[:]) // never fails since Go 1.24
	return Secret{unique.Make(raw)}
}

// Equal compares two secrets in constant time.
func (s Secret) Equal(o Secret) bool {
	a, b := s.raw(), o.raw()
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// IsZero tells whether there is no secret.
func (s Secret) IsZero() bool { return s.Equal(Secret{}) }

const tokenPrefix = "PSWM-1-"

var tokenEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Token is the secret in the form that people carry: PSWM-1-<cluster id>-<secret>.
func (s Secret) Token() string {
	raw := s.raw()
	return tokenPrefix + s.ClusterID() + "-" + tokenEncoding.EncodeToString(raw[:])
}

var errToken = errors.New("not a piswarm token: it reads PSWM-1-…-…, as `piswarm token` prints it on any node of the cluster")

// ParseToken reads what Token wrote. White space around it and letter case do not matter. The cluster ID in it
// is checked against the secret, so that a mistyped character is noticed here and not as a silent failure to
// join. No error text repeats any part of the token.
func ParseToken(token string) (Secret, error) {
	token = strings.TrimSpace(token)
	if len(token) > 200 || len(token) < len(tokenPrefix) || !strings.EqualFold(token[:len(tokenPrefix)], tokenPrefix) {
		return Secret{}, errToken
	}
	id, text, ok := strings.Cut(strings.ToLower(token[len(tokenPrefix):]), "-")
	if !ok {
		return Secret{}, errToken
	}
	raw, err := tokenEncoding.DecodeString(text)
	// The last character has bits to spare; comparing with the canonical text leaves no second spelling.
	if err != nil || len(raw) != secretBytes || tokenEncoding.EncodeToString(raw) != text {
		return Secret{}, errToken
	}
	s := Secret{unique.Make([secretBytes]byte(raw))}
	if subtle.ConstantTimeCompare([]byte(id), []byte(s.ClusterID())) != 1 {
		return Secret{}, errors.New("the token has a mistake in it: copy it again from `piswarm token`")
	}
	return s, nil
}

// ClusterID is a public name of the cluster, 8 letters and digits.
func (s Secret) ClusterID() string {
	return tokenEncoding.EncodeToString(s.derive("piswarm cluster id v1", 5))
}

// MetricsToken lets who has it read the metrics of every node, and do nothing else.
func (s Secret) MetricsToken() string {
	return "PSWM-metrics-" + tokenEncoding.EncodeToString(s.derive("piswarm metrics token v1", 20))
}

// IsMetricsToken tells whether a token is the one of MetricsToken, in constant time.
func (s Secret) IsMetricsToken(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(s.MetricsToken())) == 1
}

// GossipKey is the AES-256 key of the gossip.
func (s Secret) GossipKey() []byte { return s.derive("piswarm gossip key v1", 32) }

func (s Secret) derive(purpose string, n int) []byte {
	raw := s.raw()
	key, err := hkdf.Key(sha256.New, raw[:], nil, purpose, n)
	if err != nil { // only for lengths that no caller here asks for
		panic(fmt.Sprintf("trust: derive %s: %v", purpose, err))
	}
	return key
}
