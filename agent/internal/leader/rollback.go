package leader

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// rollBack gives a service whose update failed the spec that it had before. A user who changes it at the same moment
// wins: then that is the update to follow. It returns the key of what it wrote.
func (l *Leader) rollBack(v view.View, name string) ([]string, error) {
	s, ok := v.Service(name)
	if !ok {
		return nil, nil
	}
	back, err := s.RolledBack(true, time.Now().UTC().Truncate(time.Second))
	if err != nil {
		return nil, fmt.Errorf("roll back: %w", err)
	}
	raw, err := json.Marshal(back)
	if err != nil {
		return nil, fmt.Errorf("roll back service %s: %w", name, err)
	}
	key := cluster.ServiceKey(name)
	switch _, err := l.cfg.Store.PutIf(key, v.Versions[key], raw); {
	case errors.Is(err, state.ErrConflict):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("roll back service %s: %w", name, err)
	}
	l.cfg.Log.Warn("an update failed and is rolled back", "service", name)
	return []string{key}, nil
}
