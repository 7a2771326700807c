package agent

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/agent/internal/discovery"
	"github.com/piswarm/piswarm/agent/internal/network"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// wait says on the LAN that this node is in no cluster, until something changes in that or ctx ends. A node that waits
// asks nothing and answers nothing else from outside.
func (a *Agent) wait(ctx context.Context, changed <-chan struct{}) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var group errgroup.Group
	group.Go(func() error {
		defer stop()
		return a.announceWaiting(ctx)
	})
	group.Go(func() error {
		defer stop()
		select {
		case <-ctx.Done():
		case <-changed:
		}
		return nil
	})
	return group.Wait()
}

// announceWaiting says so at the node's address, and at its next one.
func (a *Agent) announceWaiting(ctx context.Context) error {
	life := strings.ToLower(rand.Text()[:8])
	for ctx.Err() == nil {
		lan, err := a.awaitLAN(ctx)
		if ctx.Err() != nil {
			return nil
		}
		stop := func() {}
		if err == nil {
			stop, err = a.announceAt(lan, life)
		}
		if err != nil {
			a.log.Warn("the members of a cluster cannot see that this node waits", "error", err)
		}
		err = a.awaitMove(ctx, lan)
		stop()
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) announceAt(lan network.LAN, life string) (stop func(), err error) {
	announcement, err := discovery.AnnounceWaiting(discovery.Waiting{
		ID: a.node.ID, Name: a.name, Platform: containers.Platform(), Version: Version, Address: lan.Address,
	}, lan.Interface, life)
	if err != nil {
		return func() {}, err
	}
	return func() {
		if err := announcement.Close(); err != nil {
			a.log.Debug("stop announcing", "error", err)
		}
	}, nil
}

// awaitMove waits until the node has another address than that one. Having none for a while is no move.
func (a *Agent) awaitMove(ctx context.Context, from network.LAN) error {
	ctx, moved := context.WithCancel(ctx)
	defer moved()
	return a.network.WatchAddresses(ctx, func() {
		if lan, err := a.network.LAN(a.cfg.Advertise); err == nil && lan != from {
			moved()
		}
	})
}

// hearWaiting keeps the list of the nodes of the LAN that wait for a cluster. What they say costs nothing but memory for
// a bounded number of them: they are no part of the state, and nothing is decided by them.
func (s *session) hearWaiting(ctx context.Context) error {
	listener, err := discovery.Listen(s.lan.Interface)
	if err == nil {
		err = listener.Run(ctx, s.waiting)
	}
	if err != nil {
		s.log.Warn("nodes that wait for a cluster are not seen from here", "error", err)
	}
	return nil
}

func (s *session) listWaiting() []client.NodeStatus {
	list := s.waiting.List()
	all := make([]client.NodeStatus, 0, len(list))
	for _, w := range list {
		all = append(all, client.NodeStatus{
			ID: w.ID, Name: w.Name, Address: w.Address.String(), State: cluster.Waiting,
			OS: w.Platform.OS, Arch: w.Platform.Arch, Variant: w.Platform.Variant,
			Warnings: []string{fmt.Sprintf("in no cluster: to admit it, piswarm node add pi@%s", w.Address)},
		})
	}
	return all
}
