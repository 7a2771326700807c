package agent

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// farewell tells the others that this node goes for good.
func (s *session) farewell(ctx context.Context) (err error) {
	s.parted.Store(true)
	defer func() {
		if err != nil {
			s.parted.Store(false)
			s.members.Set() // it stays, and writes its record anew
		}
	}()
	node, report := cluster.NodeKey(s.store.Self()), cluster.ReportKey(s.store.Self())
	for _, key := range []string{node, report} {
		if _, _, err := s.store.Delete(key); err != nil {
			return err
		}
	}
	if _, err := s.state.Write(ctx, node, report); err != nil {
		return err
	}
	if err := s.gossip.Leave(); err != nil {
		s.log.Warn("the others were not told that this node leaves; they will notice", "error", err)
	}
	s.leave.Do(func() { close(s.left) })
	return nil
}

// clear takes everything of a cluster that was left off this machine.
func (a *Agent) clear(ctx context.Context) error {
	err := errors.Join(clean(ctx, a.runtime, a.network), os.RemoveAll(filepath.Join(a.opts.Paths.Data, "state")))
	a.changing.Lock()
	defer a.changing.Unlock()
	a.node.Subnet = 0
	err = errors.Join(err, a.dir.SaveNode(a.node), a.dir.ForgetMembership())
	if a.cfg.Token != "" {
		a.log.Warn("the token is still in the configuration: the next start of the agent joins again", "file", a.opts.Paths.Config)
	}
	a.set(func() { a.member, a.found, a.met = nil, false, netip.Addr{} })
	return err
}
