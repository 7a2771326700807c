package dashboard

import (
	"context"
	"io"
	"log/slog"
	"net/http"

	"github.com/piswarm/piswarm/pkg/client"
)

// Config of the page.
type Config struct {
	Client   *client.Client // of this node's API
	Sessions *Sessions
	// View lets everyone look who reaches the port. What containers print is for those who signed in all the same.
	View bool
	// Known is told of a request of somebody who signed in. Optional.
	Known func(*http.Request)
	// Metrics writes the node's metrics, and Scraper tells whether a token is one that may read them.
	Metrics func(io.Writer)
	Scraper func(token string) bool
	Log     *slog.Logger
}

// Dashboard is the page of one node.
type Dashboard struct {
	cfg Config
	hub *hub
}

// New returns the page; Run makes it live.
func New(cfg Config) *Dashboard { return &Dashboard{cfg: cfg, hub: newHub(cfg.Client, cfg.Log)} }

// Run feeds the viewers until ctx ends. While there is none it waits.
func (d *Dashboard) Run(ctx context.Context) error { return d.hub.run(ctx) }

// route is one row of what a browser may ask for.
type route struct {
	method, pattern string
	level           level // that it needs
	handler         http.HandlerFunc
}

func (d *Dashboard) routes() []route {
	all := []route{
		{"GET", "/metrics", nobody, d.metrics}, // has a token of its own
		{"POST", "/sign-in", nobody, d.signIn},
		{"POST", "/sign-out", nobody, d.signOut},
		{"GET", "/api/hello", nobody, d.hello},
		{"GET", "/api/stream", looker, d.stream},
		{"GET", "/api/nodes/{id}", looker, d.node},
		{"GET", "/api/tasks/{id}", looker, d.task},

		{"POST", "/api/nodes/{id}/availability", writer, d.setAvailability},
		{"POST", "/api/services/{name}/scale", writer, d.scale},
		{"POST", "/api/services/{name}/restart", writer, d.restart},
		{"DELETE", "/api/services/{name}", writer, d.remove},
	}
	for path, file := range files {
		all = append(all, route{"GET", path, nobody, file.serve})
	}
	return all
}

// Handler answers browsers.
func (d *Dashboard) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, row := range d.routes() {
		mux.Handle(row.method+" "+row.pattern, d.guard(row))
	}
	return harden(mux)
}
