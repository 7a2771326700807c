package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// vault seals the users' secrets and opens them.
type vault struct {
	store *state.Store
	// write saves and hands on what was just put into the store under the key.
	write func(ctx context.Context, key string) error
	// secrets are those of the cluster: first the one to seal with, then, while it is changed, the other.
	secrets func() []trust.Secret
}

func (v *vault) seal(key string, plain []byte) ([]byte, error) {
	return v.secrets()[0].Seal(key, plain)
}

func (v *vault) open(key string, sealed []byte) ([]byte, error) {
	return trust.Open(key, sealed, v.secrets()...)
}

// resealTries bounds how often a record is sealed anew that changes meanwhile.
const resealTries = 5

// reseal seals anew, with the first of the cluster's secrets, whatever is sealed with another one, so that the other can be
// given up. It may be run again, and on several nodes at once. What cannot be opened stays as it is; the error says what.
func (v *vault) reseal(ctx context.Context) error {
	var errs []error
	for _, record := range v.store.List(cluster.KindSecret + "/") {
		if err := ctx.Err(); err != nil {
			return err
		}
		changed, err := v.resealOne(record.Key)
		if err == nil && changed {
			err = v.write(ctx, record.Key)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("seal anew: %w", err))
		}
	}
	return errors.Join(errs...)
}

// resealOne tells whether it has changed the record.
func (v *vault) resealOne(key string) (bool, error) {
	for range resealTries {
		record, ok := v.store.Get(key)
		if !ok {
			return false, nil // it was removed meanwhile
		}
		var s cluster.Secret
		if err := json.Unmarshal(record.Value, &s); err != nil {
			return false, fmt.Errorf("read %s: %w", key, err)
		}
		if v.secrets()[0].SealedBy(s.Sealed) {
			return false, nil
		}
		plain, err := v.open(key, s.Sealed)
		if err != nil {
			return false, err
		}
		if s.Sealed, err = v.seal(key, plain); err != nil {
			return false, err
		}
		raw, err := json.Marshal(s)
		if err != nil {
			return false, err
		}
		_, err = v.store.PutIf(key, record.Version, raw)
		if !errors.Is(err, state.ErrConflict) {
			return err == nil, err
		}
	}
	return false, fmt.Errorf("write %s: %w", key, state.ErrConflict)
}
