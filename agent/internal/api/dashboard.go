package api

import (
	"net/http"

	"github.com/piswarm/piswarm/pkg/client"
)

func invite(m *Member, r *http.Request) (any, error) {
	in, err := read[client.DashboardInvite](r)
	if err != nil {
		return nil, err
	}
	link, err := m.Invite(in.Write)
	if err != nil {
		return nil, conflict("%w", err)
	}
	return link, nil
}

func metricsToken(m *Member, _ *http.Request) (any, error) {
	token, err := m.MetricsToken()
	return client.Token{Token: token}, err
}

func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	s.node.Metrics(w)
}
