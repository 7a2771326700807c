package api

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/piswarm/piswarm/agent/internal/rotation"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/state"
)

// Exchange takes in a message of another member and returns the answer to it.
type Exchange func(from string, message []byte) (answer []byte, err error)

// Offer is what a node has for other members.
type Offer struct {
	Exchange Exchange
	// Removed tells whether a node was removed from the cluster, and Current whether a connection was made with a secret
	// that holds: who is neither in nor current gets no answer but that. Optional.
	Removed func(node string) bool
	Current func(*tls.ConnectionState) bool
	// Rotate takes a step of a change of the secret, and Secret says which ones hold.
	Rotate func(from string, step rotation.Step) (rotation.State, error)
	Secret func() rotation.State
	// Installed says what this node has of piswarm, and Install takes another one.
	Installed func(context.Context) (client.Upgrade, error)
	Install   func(context.Context, client.UpgradeFile, io.Reader) error
	Images    http.Handler         // of this node, as a read-only registry below /v2/
	Age       func() time.Duration // how long this life of the node has been a member
}

// ExchangePath is where members exchange state.
const ExchangePath = "/node/v1/state"

// AgePath answers, as a number of seconds, how long this life of the node has been a member.
const AgePath = "/node/v1/age"

// maxBodyTime is how long one may take to arrive: a mebibyte over a bad Wi-Fi.
const maxBodyTime = 20 * time.Second

// RotationPath is where a member that changes the cluster's secret has this node take its steps.
const RotationPath = "/node/v1/rotation"

// SecretPath answers which secrets hold, by their public names.
const SecretPath = "/node/v1/secret"

// MaxStep bounds a step of a rotation, and the answer to it, in bytes.
const MaxStep = 4 << 10

// rotation takes steps of a change of the secret.
func (s *Server) rotation(o Offer) peerHandler {
	return func(from string, w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, MaxStep)
		step, err := read[rotation.Step](r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		state, err := o.Rotate(from, step)
		if err != nil {
			s.fail(w, r, conflict("%w", err))
			return
		}
		writeJSON(w, http.StatusOK, state)
	}
}

func secret(o Offer) peerHandler {
	return func(_ string, w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, o.Secret()) }
}

// maxExchanges bounds how many messages of other members are worked on at a time; each may be a mebibyte.
const maxExchanges = 8

// exchange takes in messages of other members.
func (s *Server) exchange(o Offer) peerHandler {
	slots := make(chan struct{}, maxExchanges)
	return func(from string, w http.ResponseWriter, r *http.Request) {
		if err := take(r.Context(), slots); err != nil {
			return
		}
		defer func() { <-slots }()
		// Whoever sends slowly does not keep its slot. A recorder of a test knows no deadlines.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(maxBodyTime))
		message, err := io.ReadAll(http.MaxBytesReader(w, r.Body, state.MaxMessage))
		if err != nil {
			s.fail(w, r, badRequest(err))
			return
		}
		answer, err := o.Exchange(from, message)
		if err != nil {
			s.fail(w, r, badRequest(err))
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(answer) // a peer that is gone will ask again
	}
}

func age(o Offer) peerHandler {
	return func(_ string, w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, "%.3f", o.Age().Seconds()) // a peer that is gone needs no answer
	}
}

func take(ctx context.Context, slots chan<- struct{}) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case slots <- struct{}{}:
		return nil
	}
}
