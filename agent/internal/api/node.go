package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/pkg/state"
)

// Exchange takes in a message of another member and returns the answer to it.
type Exchange func(from string, message []byte) (answer []byte, err error)

// ExchangePath is where members exchange state.
const ExchangePath = "/node/v1/state"

// AgePath answers, as a number of seconds, how long this life of the node has been a member.
const AgePath = "/node/v1/age"

// maxExchanges bounds how many messages of other members are worked on at a time; each may be a mebibyte.
const maxExchanges = 8

// NodeHandler is the API for other members, for mutual TLS: that for people, the exchange of state, the images of
// this node as a read-only registry, and how long it has been a member.
func (s *Server) NodeHandler(exchange Exchange, images http.Handler, age func() time.Duration) http.Handler {
	mux := http.NewServeMux()
	s.routes(mux)
	mux.Handle("/v2/", images)
	mux.HandleFunc("GET "+AgePath, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "%.3f", age().Seconds()) // a peer that is gone needs no answer
	})
	slots := make(chan struct{}, maxExchanges)
	mux.HandleFunc("POST "+ExchangePath, func(w http.ResponseWriter, r *http.Request) {
		from, err := trust.PeerID(r.TLS)
		if err != nil {
			s.fail(w, r, problem{http.StatusForbidden, err})
			return
		}
		if err := take(r.Context(), slots); err != nil {
			return
		}
		defer func() { <-slots }()
		message, err := io.ReadAll(http.MaxBytesReader(w, r.Body, state.MaxMessage))
		if err != nil {
			s.fail(w, r, badRequest(err))
			return
		}
		answer, err := exchange(from, message)
		if err != nil {
			s.fail(w, r, badRequest(err))
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(answer) // a peer that is gone will ask again
	})
	return mux
}

func take(ctx context.Context, slots chan<- struct{}) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case slots <- struct{}{}:
		return nil
	}
}
