package dockerapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/moby/moby/api/types/common"

	"github.com/piswarm/piswarm/pkg/client"
)

// The versions of the API that are answered. The newest is that of the types; the oldest is the last that docker's own
// engine still answered when it dropped earlier ones.
const (
	newestVersion = "1.56"
	oldestVersion = "1.24"
)

// maxBody is the largest JSON body in bytes that is read. A secret of the largest size is a quarter of a mebibyte in base64.
const maxBody = 1 << 20

// server answers requests by asking the API of the agent.
type server struct {
	api   *client.Client
	execs execs

	once sync.Once
	mux  *http.ServeMux
}

// New returns a handler of the Docker Engine API that does what it is asked through the API of the agent.
func New(api *client.Client) http.Handler { return &server{api: api} }

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.once.Do(func() { s.mux = s.routes() }) // it is of no use to a node whose users know no docker
	h := w.Header()
	h.Set("Api-Version", newestVersion)
	h.Set("Docker-Experimental", "false")
	h.Set("Ostype", runtime.GOOS)
	h.Set("Server", "piswarm ("+runtime.GOOS+")")
	path, err := withoutVersion(r.URL.EscapedPath())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	plain, err := url.PathUnescape(path)
	if err != nil {
		s.fail(w, r, badRequest("%v", err))
		return
	}
	r = r.Clone(r.Context())
	r.URL.Path, r.URL.RawPath = plain, path
	s.mux.ServeHTTP(w, r)
}

// withoutVersion takes /v1.41 off a path. A path without a version is of the newest one.
func withoutVersion(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "/v")
	if !ok || rest == "" || rest[0] < '0' || rest[0] > '9' {
		return path, nil
	}
	version, rest, _ := strings.Cut(rest, "/")
	switch at, ok := parseVersion(version); {
	case !ok:
		return "", badRequest("bad API version %q: want %s to %s", version, oldestVersion, newestVersion)
	case at < mustVersion(oldestVersion):
		return "", badRequest("client version %s is too old. Minimum supported API version is %s, please upgrade your client to a newer version", version, oldestVersion)
	case at > mustVersion(newestVersion):
		return "", badRequest("client version %s is too new. Maximum supported API version is %s", version, newestVersion)
	}
	return "/" + rest, nil
}

// parseVersion gives a version a number by which versions can be compared.
func parseVersion(s string) (int, bool) {
	major, minor, ok := strings.Cut(s, ".")
	a, errA := strconv.ParseUint(major, 10, 8)
	b, errB := strconv.ParseUint(minor, 10, 8)
	return int(a<<8 | b), ok && errA == nil && errB == nil
}

func mustVersion(s string) int {
	n, ok := parseVersion(s)
	if !ok {
		panic("bad version " + s)
	}
	return n
}

// problem is an error with the status that goes with it.
type problem struct {
	status int
	err    error
}

func (p problem) Error() string { return p.err.Error() }
func (p problem) Unwrap() error { return p.err }

func badRequest(format string, args ...any) error {
	return problem{http.StatusBadRequest, fmt.Errorf(format, args...)}
}

func notFound(format string, args ...any) error {
	return problem{http.StatusNotFound, fmt.Errorf(format, args...)}
}

func conflict(format string, args ...any) error {
	return problem{http.StatusConflict, fmt.Errorf(format, args...)}
}

// unsupported refuses what piswarm does not have. To docker's client it is an engine that does not implement it.
func unsupported(format string, args ...any) error {
	return problem{http.StatusNotImplemented, fmt.Errorf(format, args...)}
}

// handler answers one route: with a value that becomes the body, or an error that becomes a message.
type handler func(*http.Request) (any, error)

// created is an answer to what made something, and empty one to what has nothing to tell.
type (
	created struct{ body any }
	empty   struct{}
)

func (s *server) handle(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		answer, err := h(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		switch answer := answer.(type) {
		case empty:
			w.WriteHeader(http.StatusNoContent)
		case created:
			writeJSON(w, http.StatusCreated, answer.body)
		default:
			writeJSON(w, http.StatusOK, answer)
		}
	}
}

const noSwarm = `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`

// fail answers with an error in the API's form.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, message := http.StatusInternalServerError, strings.Join(strings.Fields(err.Error()), " ")
	var p problem
	var answer *client.Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		status, message = http.StatusRequestEntityTooLarge, fmt.Sprintf("the body of the request is larger than %d KiB", maxBody>>10)
	case errors.As(err, &p):
		status = p.status
	case errors.As(err, &answer):
		status = answer.Status
		if status == http.StatusConflict && !s.inSwarm(r.Context()) {
			status, message = http.StatusServiceUnavailable, noSwarm
		}
	}
	writeJSON(w, status, common.ErrorResponse{Message: message})
}

// inSwarm tells whether this node is in a cluster.
func (s *server) inSwarm(ctx context.Context) bool {
	v, err := s.api.Version(ctx)
	return err != nil || v.ClusterID != ""
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // the client is gone: nobody is left to tell
}
