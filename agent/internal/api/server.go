package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// Images keeps this node's images.
type Images interface {
	// Load reads an archive, Pull fetches from the registry; both return what they brought.
	Load(context.Context, io.Reader) ([]cluster.Image, error)
	Pull(ctx context.Context, ref string, progress func(done, total int64)) ([]cluster.Image, error)
	// Resolve finds out what a reference means, here, on other nodes or at its registry.
	Resolve(ctx context.Context, ref string) (name, digest string, platforms []cluster.Platform, err error)
	// Tag gives an image of this node another name besides.
	Tag(ctx context.Context, name, target string) error
	// Remove removes an image from this node.
	Remove(ctx context.Context, ref string) error
}

// Member is what the API needs of this node's membership in a cluster.
type Member struct {
	Store *state.Store
	View  func() view.View
	// Write saves and hands on what was just put into the store under the keys. It returns how many nodes hold it
	// on disk now, and how many should.
	Write func(ctx context.Context, keys ...string) (holders, wanted int, err error)
	// Members makes a channel that is signalled after changes of the membership, until cancel.
	Members func() (changed <-chan struct{}, cancel func())
	Images  Images
	Tasks   Tasks // of this node
	// Peer returns the client for calls of another member's node API.
	Peer  func(node string) *http.Client
	Token func() string
	// Rotate moves the cluster to a new secret.
	Rotate func(ctx context.Context, tell func(string)) (client.Rotation, error)
	// Waiting are the nodes of the LAN that say that they are in no cluster.
	Waiting func() []client.NodeStatus

	Upgrades Upgrades

	// Seal encrypts the value of a secret, for good, under the key of its record.
	Seal func(key string, plain []byte) ([]byte, error)
	// Open decrypts it.
	Open func(key string, sealed []byte) ([]byte, error)
	// Invite makes a link that signs one browser in to the page: to look, or to write too. MetricsToken is what reads the
	// metrics of all nodes.
	Invite       func(write bool) (client.DashboardLink, error)
	MetricsToken func() (string, error)
	// Forget tells all members that a node is gone for good.
	Forget func(id string) error

	changing sync.Mutex // services, and the secrets and configs that they use: a check and its write
}

// Node is what the API needs of the node itself, cluster or not.
type Node interface {
	// Member returns the membership. While there is none the error, ErrNoCluster or ErrNotUp, says what to do.
	Member() (*Member, error)
	Version() client.Version
	Init(context.Context, client.Init) (token string, err error)
	Join(context.Context, client.Join) error
	Leave(context.Context) error
	// Metrics writes what the node counts, in Prometheus' text format.
	Metrics(io.Writer)
}

// Server answers the API.
type Server struct {
	node Node
	log  *slog.Logger
}

// New returns a server.
func New(node Node, log *slog.Logger) *Server { return &Server{node: node, log: log} }

// maxBody is the largest JSON body in bytes that is read. A record is at most 256 KiB.
const maxBody = 512 << 10

// problem is an error with the status that goes with it.
type problem struct {
	status int
	err    error
}

func (p problem) Error() string { return p.err.Error() }
func (p problem) Unwrap() error { return p.err }

func badRequest(err error) error { return problem{http.StatusBadRequest, err} }
func notFound(format string, args ...any) error {
	return problem{http.StatusNotFound, fmt.Errorf(format, args...)}
}
func conflict(format string, args ...any) error {
	return problem{http.StatusConflict, fmt.Errorf(format, args...)}
}

// Why a node has no membership.
var (
	ErrNoCluster = errors.New("this node is in no cluster yet: `piswarm init` makes one, `piswarm join --token TOKEN` joins one")
	ErrNotUp     = errors.New("this node belongs to a cluster, but is not up in it yet: if that lasts, is the cable in, or the Wi-Fi's name and password right?")
)

// handler answers one route: with a value that becomes the body, or an error that becomes a Problem.
type handler func(*http.Request) (any, error)

// memberHandler answers one route on a node that is in a cluster.
type memberHandler func(*Member, *http.Request) (any, error)

func (s *Server) handle(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		answer, err := h(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		writeJSON(w, http.StatusOK, answer)
	})
}

// member is the node's membership.
func (s *Server) member() (*Member, error) {
	m, err := s.node.Member()
	if err != nil {
		return nil, problem{http.StatusConflict, err}
	}
	return m, nil
}

func (s *Server) asMember(h memberHandler) http.Handler {
	return s.handle(func(r *http.Request) (any, error) {
		m, err := s.member()
		if err != nil {
			return nil, err
		}
		return h(m, r)
	})
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusInternalServerError
	var p problem
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		status = p.status
	case errors.As(err, &tooLarge):
		status = http.StatusRequestEntityTooLarge
	}
	if status >= 500 {
		s.log.Warn("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	writeJSON(w, status, client.Problem{Error: oneLine(err)})
}

// oneLine makes any error one line.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the client is gone: nobody is left to tell
}

// read reads a JSON body; what it does not know in it is an error, so that a mistyped field is not passed over.
func read[T any](r *http.Request) (T, error) {
	var v T
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, badRequest(fmt.Errorf("the body of the request is not well formed: %w", err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return v, badRequest(errors.New("the body of the request goes on after its end"))
	}
	return v, nil
}

// write makes what was just put into the store as safe as it can be, and says how far that has come.
func (m *Member) write(r *http.Request, id string, keys ...string) (client.Written, error) {
	holders, wanted, err := m.Write(r.Context(), keys...)
	if err != nil {
		return client.Written{}, err
	}
	w := client.Written{ID: id, Holders: holders}
	if holders < wanted {
		w.Warning = fmt.Sprintf("only %d of %d nodes hold this so far; if they lose power now it is lost", holders, wanted)
	}
	return w, nil
}

// Wait bounds of the servers that serve this API. Bodies may be images, so there is none on a whole request.
const (
	ReadHeaderTimeout = 10 * time.Second
	IdleTimeout       = 2 * time.Minute
	MaxHeaderBytes    = 16 << 10
)
