package api

import (
	"net/http"

	"github.com/piswarm/piswarm/pkg/client"
)

func (s *Server) init(r *http.Request) (any, error) {
	in, err := read[client.Init](r)
	if err != nil {
		return nil, err
	}
	token, err := s.node.Init(r.Context(), in)
	if err != nil {
		return nil, conflict("%w", err)
	}
	return client.Token{Token: token}, nil
}

func (s *Server) join(r *http.Request) (any, error) {
	in, err := read[client.Join](r)
	if err != nil {
		return nil, err
	}
	if err := s.node.Join(r.Context(), in); err != nil {
		return nil, conflict("%w", err)
	}
	return client.Written{Holders: 1}, nil
}

func (s *Server) leave(r *http.Request) (any, error) {
	if err := s.node.Leave(r.Context()); err != nil {
		return nil, conflict("%w", err)
	}
	return client.Written{Holders: 1}, nil
}
