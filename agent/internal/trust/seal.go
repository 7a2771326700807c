package trust

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
)

// A sealed value is
//
//	version, 1 byte | public cluster ID, 8 | nonce, 12 | ciphertext and its tag, AES-256-GCM
//
// The cluster ID says, to whoever holds several secrets, under which one it was sealed. The key is made for this
// purpose alone. Version, cluster ID and the value's name are authenticated with it, so that the sealed value of one
// name is not taken for that of another.
const (
	sealVersion   = 1
	clusterIDSize = 8
	sealHeader    = 1 + clusterIDSize
	nonceSize     = 12
	// SealOverhead is by how many bytes a sealed value is longer than the value.
	SealOverhead = sealHeader + nonceSize + 16
)

// Seal encrypts a value so that only who knows the cluster's secret reads it again, under the same name. Each call makes
// other bytes of it, with a random nonce: a cluster seals far fewer values than the 2³² for which that is sound.
func (s Secret) Seal(name string, plain []byte) ([]byte, error) {
	gcm, err := s.sealer()
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", name, err)
	}
	header := append([]byte{sealVersion}, s.ClusterID()...)
	return append(header, gcm.Seal(nil, nil, plain, boundTo(header, name))...), nil
}

// SealedBy tells whether a value says that it was sealed with this secret. Only Open tells whether it was.
func (s Secret) SealedBy(sealed []byte) bool {
	return len(sealed) >= SealOverhead && sealed[0] == sealVersion && string(sealed[1:sealHeader]) == s.ClusterID()
}

var (
	// ErrSealed says that a value was sealed with another secret than those that were tried.
	ErrSealed   = errors.New("it is sealed with another secret than this cluster's")
	errSealForm = errors.New("it is not a sealed value, or one of a newer piswarm")
	errTampered = errors.New("it was changed after it was sealed")
)

// Open returns the value that was sealed under the name with one of the secrets.
func Open(name string, sealed []byte, secrets ...Secret) ([]byte, error) {
	if len(sealed) < SealOverhead || sealed[0] != sealVersion {
		return nil, fmt.Errorf("open %s: %w", name, errSealForm)
	}
	for _, s := range secrets {
		if !s.SealedBy(sealed) {
			continue
		}
		gcm, err := s.sealer()
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", name, err)
		}
		plain, err := gcm.Open(nil, nil, sealed[sealHeader:], boundTo(sealed[:sealHeader], name))
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", name, errTampered)
		}
		return plain, nil
	}
	return nil, fmt.Errorf("open %s: %w", name, ErrSealed)
}

func (s Secret) sealer() (cipher.AEAD, error) {
	block, err := aes.NewCipher(s.derive("piswarm secret at rest v1", 32))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// boundTo is what is authenticated beside a value. The header's length is fixed, so that no two names and headers give
// the same bytes.
func boundTo(header []byte, name string) []byte {
	return append(header[:len(header):len(header)], name...)
}
