package agent

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/piswarm/piswarm/agent/internal/floating"
)

const (
	// vipSoon and vipLater are how long to wait with an address that another machine has: who led until now may not know
	// yet that it does no more. Of two that want it at the same moment one asks first.
	vipSoon  = time.Second
	vipLater = 10 * time.Second
	vipTries = 5 // soon
)

func vipNote(paths Paths) string { return filepath.Join(paths.Run, "vip.json") }

// holdVIP has the floating address of the configuration while this node leads. An agent that only starts anew leaves the
// address where it is, for what it leads to answers meanwhile; with the node's going, or its leaving the cluster, it goes.
func (s *session) holdVIP(ctx, agent context.Context) error {
	if !s.agent.cfg.VIP.IsValid() {
		return nil
	}
	changed, cancel := s.members.Subscribe()
	defer cancel()
	address := floating.Address{Interface: s.lan.Interface, IP: s.agent.cfg.VIP, Note: vipNote(s.agent.opts.Paths)}
	drop := func() {
		if err := floating.Cleanup(address.Note); err != nil {
			s.log.Warn("the floating address stays", "error", err)
		}
	}
	said, tries := "", 0 // of the present lead
	for {
		var again <-chan time.Time
		if v := s.reader.View(); v.Leader != v.Self {
			drop()
			said, tries = "", 0
		} else if err := address.Take(ctx); err == nil {
			// Also while it has it: who gave it up a moment ago may have told the LAN otherwise.
			if said != "here" {
				s.log.Info("this node has the floating address", "address", address.IP)
			}
			said = "here"
		} else if ctx.Err() == nil {
			if said != err.Error() {
				s.log.Warn("this node leads without the floating address; trying again", "address", address.IP, "error", err)
			}
			said = err.Error()
			wait := vipLater
			if tries++; tries < vipTries && errors.Is(err, floating.ErrTaken) {
				wait = vipSoon
			}
			again = time.After(wait + rand.N(vipSoon))
		}
		select {
		case <-ctx.Done():
			if agent.Err() == nil || s.agent.ending.Load() {
				drop()
			}
			return nil
		case <-changed:
		case <-again:
		}
	}
}
