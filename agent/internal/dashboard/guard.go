package dashboard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
)

// level is what somebody may do.
type level int

const (
	nobody level = iota
	looker       // sees the shelf
	writer       // changes it, too
)

const (
	// maxBody bounds what a browser sends.
	maxBody = 4 << 10
	// bodyTime is how long it may take to arrive, and answerTime how long an answer may take to be taken.
	bodyTime   = 10 * time.Second
	answerTime = 30 * time.Second
)

// policy lets the page load its own files and talk to its own node, and nothing else: what got into it, through a name
// or the output of a container, could neither run nor call home.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// harden says with every answer, the refusals as well, what a browser must not make of it.
func harden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY") // for browsers that do not know frame-ancestors
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		control := http.NewResponseController(w)
		// A recorder of a test knows no deadlines.
		_ = control.SetReadDeadline(time.Now().Add(bodyTime))
		_ = control.SetWriteDeadline(time.Now().Add(answerTime))
		next.ServeHTTP(w, r)
	})
}

// guard lets in who may use the route.
func (d *Dashboard) guard(row route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		// Who has a token of the metrics may call the node by any name: a browser never has one.
		if row.pattern != "/metrics" {
			if err := checkOrigin(r); err != nil {
				refuse(w, http.StatusForbidden, err)
				return
			}
		}
		who, signed := d.visitor(r)
		switch {
		case row.level <= who.level:
			if signed && d.cfg.Known != nil {
				d.cfg.Known(r)
			}
			row.handler(w, r)
		case signed:
			refuse(w, http.StatusForbidden, errors.New("this browser may only look: `piswarm dashboard --write` prints a link that lets it change things"))
		default:
			refuse(w, http.StatusUnauthorized, errors.New("not signed in: `piswarm dashboard`, on this node, prints a link that does it"))
		}
	})
}

// checkOrigin refuses what pages of others make a browser ask. Two things are checked. The name that the browser calls
// this node by must be one that nobody outside the LAN can own: else a page from anywhere could have its own name lead
// here and read the answers as if they were its own (DNS rebinding). And what changes something must come from this page,
// not from one at another port of this node, which belongs to somebody's container and is, to a browser, the same site.
func checkOrigin(r *http.Request) error {
	if !localName(r.Host) {
		return fmt.Errorf("this node does not go by the name %.100q here: use its address, or its name with .local", r.Host)
	}
	from := r.Header.Get("Sec-Fetch-Site")
	origin := r.Header.Get("Origin")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if origin != "http://"+r.Host || from != "" && from != "same-origin" {
			return errors.New("this request comes from another page")
		}
		return nil
	}
	// A link from elsewhere may open the page itself; what it shows is for it alone.
	if strings.HasPrefix(r.URL.Path, "/api/") && (from != "" && from != "same-origin" || origin != "" && origin != "http://"+r.Host) {
		return errors.New("this request comes from another page")
	}
	return nil
}

// localZones are the ends of names that the world's DNS does not give away.
var localZones = []string{".local", ".lan", ".internal", ".home.arpa", ".localhost"}

// localName tells whether a Host header names something of this LAN: an address, a plain host name, or one below a zone
// that is local by definition or by everyone's habit.
func localName(host string) bool {
	name := host
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		name = host[:i]
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return true
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
		return false
	}
	if !strings.Contains(name, ".") {
		return true
	}
	for _, zone := range localZones {
		if strings.HasSuffix(name, zone) {
			return true
		}
	}
	return false
}

// refuse answers as the API does.
func refuse(w http.ResponseWriter, status int, err error) {
	answer(w, status, client.Problem{Error: strings.Join(strings.Fields(err.Error()), " ")})
}

// fail answers what the API said.
func fail(w http.ResponseWriter, err error) {
	status := http.StatusBadGateway
	var said *client.Error
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &said):
		status = said.Status
	case errors.As(err, &large):
		status = http.StatusRequestEntityTooLarge
	}
	refuse(w, status, err)
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value) // a browser that is gone needs none
}

// read reads a small JSON body.
func read[T any](r *http.Request) (T, error) {
	var v T
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); kind != "application/json" {
		return v, &client.Error{Status: http.StatusUnsupportedMediaType, Message: "the body of the request is not application/json"}
	}
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(&v)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return v, nil
		}
		err = errors.New("it goes on after its end")
	}
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return v, err
	}
	return v, &client.Error{Status: http.StatusBadRequest, Message: "the body of the request is not well formed: " + err.Error()}
}
