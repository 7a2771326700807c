package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// The API by which other processes of root use a lab:
//
//	GET  /v1/hosts                 []Host
//	GET  /v1/hosts/NAME/target     Target
//	POST /v1/hosts/NAME/power-off  and power-on, cut, heal
//	POST /v1/down                  ends the lab and, with it, Serve
//
// An error is a status of 400 or more and {"error": "…"}.

// Serve lets other processes use the lab by a unix socket that only root can reach. It returns, with the lab closed,
// when ctx ends or someone asks for the lab's end. It calls ready when others can connect.
func Serve(ctx context.Context, l *Lab, socket string, ready func()) error {
	listener, err := listenPrivate(socket)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	ctx, down := context.WithCancel(ctx)
	defer down()
	server := &http.Server{Handler: handler(l, down), ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ready()
	select {
	case <-ctx.Done():
	case err = <-served:
	}
	closed := l.Close()
	// The one who asked for the end gets the answer.
	wait, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(err, closed, server.Shutdown(wait))
}

// listenPrivate makes the socket in a directory of root's own, which closes the gap between its making and its mode.
func listenPrivate(socket string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		return nil, err
	}
	// That of a lab that ended without removing it. The caller knows that there is no other.
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", socket)
}

func handler(l *Lab, down func()) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/hosts", func(w http.ResponseWriter, _ *http.Request) { answer(w, l.List(), nil) })
	mux.HandleFunc("GET /v1/hosts/{name}/target", func(w http.ResponseWriter, r *http.Request) {
		target, err := l.Target(r.PathValue("name"))
		answer(w, target, err)
	})
	for verb, do := range map[string]func(ctx context.Context, name string) error{
		"power-off": func(_ context.Context, name string) error { return l.PowerOff(name) },
		"power-on":  l.PowerOn,
		"cut":       func(_ context.Context, name string) error { return l.Cut(name) },
		"heal":      func(_ context.Context, name string) error { return l.Heal(name) },
	} {
		mux.HandleFunc("POST /v1/hosts/{name}/"+verb, func(w http.ResponseWriter, r *http.Request) {
			answer(w, struct{}{}, do(r.Context(), r.PathValue("name")))
		})
	}
	mux.HandleFunc("POST /v1/down", func(w http.ResponseWriter, _ *http.Request) {
		down()
		// Close does its work once and gives all who call it the result.
		answer(w, struct{}{}, l.Close())
	})
	return mux
}

type errorAnswer struct {
	Error string `json:"error"`
}

func answer(w http.ResponseWriter, value any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		value = errorAnswer{err.Error()}
	}
	// The caller may have gone.
	_ = json.NewEncoder(w).Encode(value)
}

// ErrNoLab is the error of Connect when no lab is served at the socket.
var ErrNoLab = errors.New("no lab is up: start one with `piswarm lab up`")

// Remote is a lab that another process serves. Its methods do what those of [Lab] do.
type Remote struct {
	http *http.Client
}

// Connect finds the lab that is served at a socket.
func Connect(ctx context.Context, socket string) (*Remote, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the lab needs root: run it with sudo")
	}
	r := &Remote{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, ErrNoLab
	}
	return r, conn.Close()
}

// List returns all hosts.
func (r *Remote) List(ctx context.Context) (hosts []Host, err error) {
	err = r.do(ctx, http.MethodGet, "/v1/hosts", &hosts)
	return hosts, err
}

// Exec runs a command on a host, as a child of this process.
func (r *Remote) Exec(ctx context.Context, name string, argv []string, stdio Stdio) (int, error) {
	var target Target
	if err := r.do(ctx, http.MethodGet, "/v1/hosts/"+url.PathEscape(name)+"/target", &target); err != nil {
		return -1, err
	}
	return target.Exec(ctx, argv, stdio)
}

// PowerOff cuts a host's power.
func (r *Remote) PowerOff(ctx context.Context, name string) error {
	return r.post(ctx, name, "power-off")
}

// PowerOn starts a host from its disk and returns when it is up.
func (r *Remote) PowerOn(ctx context.Context, name string) error {
	return r.post(ctx, name, "power-on")
}

// Cut pulls a host's network cable.
func (r *Remote) Cut(ctx context.Context, name string) error { return r.post(ctx, name, "cut") }

// Heal puts a host's network cable back.
func (r *Remote) Heal(ctx context.Context, name string) error { return r.post(ctx, name, "heal") }

// Down ends the lab and returns when nothing of it is left.
func (r *Remote) Down(ctx context.Context) error {
	return r.do(ctx, http.MethodPost, "/v1/down", &struct{}{})
}

func (r *Remote) post(ctx context.Context, name, verb string) error {
	return r.do(ctx, http.MethodPost, "/v1/hosts/"+url.PathEscape(name)+"/"+verb, &struct{}{})
}

func (r *Remote) do(ctx context.Context, method, path string, into any) error {
	request, err := http.NewRequestWithContext(ctx, method, "http://lab"+path, nil)
	if err != nil {
		return err
	}
	response, err := r.http.Do(request)
	if err != nil {
		return fmt.Errorf("ask the lab: %w", err)
	}
	defer response.Body.Close()
	decoder := json.NewDecoder(response.Body)
	if response.StatusCode >= http.StatusBadRequest {
		var e errorAnswer
		if err := decoder.Decode(&e); err != nil || e.Error == "" {
			return fmt.Errorf("ask the lab: %s", response.Status)
		}
		return errors.New(e.Error)
	}
	return decoder.Decode(into)
}
