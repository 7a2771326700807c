package agent

import (
	"context"
	"errors"
)

// errMoved ends a session whose address the node has no more.
var errMoved = errors.New("this node's address has changed")

// followAddress ends the session when DHCP has given the node another address: everything that it told the others
// names the old one. The next session is of the same node, with the same containers. While there is no address at
// all, because the Wi-Fi is gone for a while, the session goes on.
func (s *session) followAddress(ctx context.Context) error {
	return s.agent.network.WatchAddresses(ctx, func() {
		if lan, err := s.agent.network.LAN(s.lan.Address.String()); err == nil && lan == s.lan {
			return
		}
		lan, err := s.agent.network.LAN(s.agent.cfg.Advertise)
		if err != nil {
			s.log.Debug("this node has no address for now", "error", err)
			return
		}
		s.log.Info("this node has another address", "old", s.lan.Address, "new", lan.Address, "interface", lan.Interface)
		select {
		case s.ends <- errMoved:
		default:
		}
	})
}
