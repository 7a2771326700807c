package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The API by which other processes of root use a lab:
//
//	GET  /v1/hosts                 []Host
//	GET  /v1/hosts/NAME/target     Target
//	POST /v1/hosts/NAME/power-off  and power-on, shutdown, cut, heal
//	POST /v1/hosts/NAME/loss       ?percent=10
//	POST /v1/hosts/NAME/address    ?address=192.168.77.99
//	POST /v1/hosts/NAME/clone      ?from=pi1
//	POST /v1/split                 ?group=pi1,pi2&group=pi3
//	POST /v1/unsplit
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
	for verb, do := range map[string]func(ctx context.Context, name string, query url.Values) error{
		"power-off": func(_ context.Context, name string, _ url.Values) error { return l.PowerOff(name) },
		"power-on":  func(ctx context.Context, name string, _ url.Values) error { return l.PowerOn(ctx, name) },
		"shutdown":  func(ctx context.Context, name string, _ url.Values) error { return l.Shutdown(ctx, name) },
		"cut":       func(_ context.Context, name string, _ url.Values) error { return l.Cut(name) },
		"heal":      func(_ context.Context, name string, _ url.Values) error { return l.Heal(name) },
		"loss": func(ctx context.Context, name string, query url.Values) error {
			percent, err := strconv.Atoi(query.Get("percent"))
			if err != nil {
				return fmt.Errorf("a loss of %q: want a whole number of percent", query.Get("percent"))
			}
			return l.Loss(ctx, name, percent)
		},
		"address": func(_ context.Context, name string, query url.Values) error {
			addr, err := netip.ParseAddr(query.Get("address"))
			if err != nil {
				return err
			}
			return l.Readdress(name, addr)
		},
		"clone": func(ctx context.Context, name string, query url.Values) error {
			return l.Clone(ctx, query.Get("from"), name)
		},
	} {
		mux.HandleFunc("POST /v1/hosts/{name}/"+verb, func(w http.ResponseWriter, r *http.Request) {
			answer(w, struct{}{}, do(r.Context(), r.PathValue("name"), r.URL.Query()))
		})
	}
	mux.HandleFunc("POST /v1/split", func(w http.ResponseWriter, r *http.Request) {
		var groups [][]string
		for _, g := range r.URL.Query()["group"] {
			groups = append(groups, strings.Split(g, ","))
		}
		answer(w, struct{}{}, l.Split(groups...))
	})
	mux.HandleFunc("POST /v1/unsplit", func(w http.ResponseWriter, _ *http.Request) { answer(w, struct{}{}, l.Unsplit()) })
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
