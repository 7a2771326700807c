package agent

import (
	"context"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/piswarm/piswarm/agent/internal/discovery"
)

// leaderName is what the leader answers to on the LAN beside its own name: piswarm.local is always some node that is on.
const leaderName = "piswarm"

// answerNames answers for this node's name and, while it leads, for the cluster's at .local.
func (s *session) answerNames(ctx context.Context) error {
	changed, cancel := s.members.Subscribe()
	defer cancel()
	names := discovery.NewHostNames(s.lan.Interface, s.lan.Address, s.log)
	var group errgroup.Group
	group.Go(func() error {
		names.Run(ctx)
		return nil
	})
	for {
		var mine []string
		if own, _, _ := strings.Cut(s.agent.name, "."); own != "" && own != "localhost" {
			mine = append(mine, own)
		}
		if v := s.reader.View(); v.Leader == v.Self {
			mine = append(mine, leaderName)
		}
		names.Set(mine...)
		select {
		case <-ctx.Done():
			return group.Wait()
		case <-changed:
		}
	}
}
