package dashboard

import (
	"errors"
	"net/http"
	"strings"
)

// metrics answers a Prometheus that has the token of `piswarm token metrics`.
func (d *Dashboard) metrics(w http.ResponseWriter, r *http.Request) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || !d.cfg.Scraper(token) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		refuse(w, http.StatusUnauthorized, errors.New("metrics are for who has the token of `piswarm token metrics`, as a bearer token"))
		return
	}
	if d.cfg.Known != nil {
		d.cfg.Known(r)
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	d.cfg.Metrics(w)
}
