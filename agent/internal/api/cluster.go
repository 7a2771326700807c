package api

import (
	"io"
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

func rotateToken(m *Member, r *http.Request, progress func(client.Progress)) (client.Progress, error) {
	// There is nothing to say. What is said all the same must not be in the way of the next request.
	if _, err := io.Copy(io.Discard, http.MaxBytesReader(nil, r.Body, maxBody)); err != nil {
		return client.Progress{}, badRequest(err)
	}
	end, err := m.Rotate(r.Context(), func(message string) { progress(client.Progress{Message: message}) })
	if err != nil {
		return client.Progress{}, err
	}
	return client.Progress{Message: "rotated", Rotation: &end}, nil
}

func (s *Server) leave(r *http.Request) (any, error) {
	if err := s.node.Leave(r.Context()); err != nil {
		return nil, conflict("%w", err)
	}
	return client.Written{Holders: 1}, nil
}
