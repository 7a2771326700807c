package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

const (
	// aloneAfter is how long a node that finds nobody waits before it takes itself for the whole cluster.
	aloneAfter = 6 * time.Second
	// syncLimit is how long it waits for the state of those it has found.
	syncLimit = 15 * time.Second
)

// settle waits until what the cluster wants is known as well as it can be.
func (s *session) settle(ctx context.Context) error {
	limit := time.NewTimer(syncLimit)
	defer limit.Stop()
	alone := time.NewTimer(aloneAfter)
	defer alone.Stop()
	for waiting := true; waiting; {
		select {
		case <-ctx.Done():
			return nil
		case <-s.state.Synced():
			waiting = false
		case <-limit.C:
			s.log.Warn("no other node has told its state in time: going by what this one knows")
			waiting = false
		case <-alone.C:
			waiting = len(others{s}.Ready()) > 0
		}
	}
	// The others go by this node's former report until it makes a new one.
	select {
	case <-ctx.Done():
		return nil
	case <-s.worker.Reported():
	case <-limit.C:
	}
	if err := s.place.choose(); err != nil {
		return err
	}
	close(s.settled)
	return nil
}

// introduce makes this node a known one, with what its configuration says at its first start.
func (s *session) introduce() error {
	key := cluster.NodeKey(s.store.Self())
	settings := cluster.Settings{
		Name: s.agent.name, Availability: cluster.Active, Role: cluster.Manager, Labels: s.agent.cfg.Labels,
	}
	if record, ok := s.store.Get(key); ok {
		var known cluster.Settings
		if err := json.Unmarshal(record.Value, &known); err == nil {
			if known.Name == s.agent.name {
				return nil
			}
			known.Name = s.agent.name // the host name was changed
			settings = known
		}
	}
	return s.put(key, settings)
}

// put writes a record that is this node's own to write.
func (s *session) put(key string, value any) error {
	raw, err := json.Marshal(value)
	if err == nil {
		_, err = s.store.Put(key, raw)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}
