package dashboard

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
)

// Bounds of the codes that are not used yet and of the browsers that signed in. Of more, the oldest makes room.
const (
	maxCodes    = 8
	codeLife    = 15 * time.Minute
	maxSessions = 32
	sessionLife = 24 * time.Hour
)

// Sessions are who may look at the page, or write. They are in memory: an agent that restarts knows nobody.
//
// A browser that signs in gets two random values, and needs both. One is a cookie that no script can read. But to a
// browser, a cookie belongs to a host name whatever the port: it is sent to every service that this node publishes, so a
// container could collect it. The other value is therefore kept by the page's script, in a storage that belongs to this
// port alone, and comes in a header, which no other page can set. That header is also what keeps other pages from
// writing through the browser (CSRF).
type Sessions struct {
	mu       sync.Mutex
	codes    []code    // the oldest first
	sessions []session // the oldest first
}

// digest is what is kept of a random value. Looking for it takes no time that would tell how much of a guess is right.
type digest [sha256.Size]byte

type code struct {
	digest digest
	level  level
	ends   time.Time // on the monotonic clock: a Pi finds out what year it is while it runs
}

type session struct {
	cookie, token digest
	level         level
	ends          time.Time
}

// Invite makes a code that signs one browser in: to look, or to write too.
func (s *Sessions) Invite(write bool) string {
	text, d := draw()
	c := code{d, looker, time.Now().Add(codeLife)}
	if write {
		c.level = writer
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	s.codes = append(s.codes, c)
	s.codes = s.codes[max(0, len(s.codes)-maxCodes):]
	return text
}

// draw returns a random value, and what to keep of it.
func draw() (string, digest) {
	var raw [18]byte
	rand.Read(raw[:]) // never fails since Go 1.24
	text := base64.RawURLEncoding.EncodeToString(raw[:])
	return text, sha256.Sum256([]byte(text))
}

// signIn makes a session of a code, which is used up.
func (s *Sessions) signIn(text string) (cookie, token string, l level) {
	given := digest(sha256.Sum256([]byte(text)))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	i := slices.IndexFunc(s.codes, func(c code) bool { return equal(c.digest, given) })
	if i < 0 {
		return "", "", nobody
	}
	l = s.codes[i].level
	s.codes = slices.Delete(s.codes, i, i+1)
	n := session{level: l, ends: time.Now().Add(sessionLife)}
	cookie, n.cookie = draw()
	token, n.token = draw()
	s.sessions = append(s.sessions, n)
	s.sessions = s.sessions[max(0, len(s.sessions)-maxSessions):]
	return cookie, token, l
}

// find returns the level of a session and when it ends.
func (s *Sessions) find(cookie, token string) (session, bool) {
	c, t := digest(sha256.Sum256([]byte(cookie))), digest(sha256.Sum256([]byte(token)))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	for _, n := range s.sessions {
		if equal(n.cookie, c) && equal(n.token, t) {
			return n, true
		}
	}
	return session{}, false
}

// signOut ends the session of a cookie.
func (s *Sessions) signOut(n session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = slices.DeleteFunc(s.sessions, func(o session) bool { return equal(n.cookie, o.cookie) })
}

// expire drops what is too old; the lock is held.
func (s *Sessions) expire() {
	now := time.Now()
	s.codes = slices.DeleteFunc(s.codes, func(c code) bool { return !now.Before(c.ends) })
	s.sessions = slices.DeleteFunc(s.sessions, func(n session) bool { return !now.Before(n.ends) })
}

func equal(a, b digest) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }

const (
	cookieName  = "piswarm"
	tokenHeader = "X-Piswarm-Token"
)

// visitor is who makes a request, and whether by having signed in.
func (d *Dashboard) visitor(r *http.Request) (who session, signed bool) {
	token := r.Header.Get(tokenHeader)
	for _, c := range r.CookiesNamed(cookieName) {
		if who, ok := d.cfg.Sessions.find(c.Value, token); ok {
			return who, true
		}
	}
	if d.cfg.View {
		return session{level: looker}, false
	}
	return session{}, false
}

// hello is what the page wants to know first.
type hello struct {
	Look   bool `json:"look"`
	Write  bool `json:"write"`
	Signed bool `json:"signed"`
}

func (d *Dashboard) hello(w http.ResponseWriter, r *http.Request) {
	who, signed := d.visitor(r)
	answer(w, http.StatusOK, hello{Look: who.level >= looker, Write: who.level >= writer, Signed: signed})
}

// signedIn is the answer to a code.
type signedIn struct {
	Token string `json:"token"`
	Write bool   `json:"write"`
}

func (d *Dashboard) signIn(w http.ResponseWriter, r *http.Request) {
	in, err := read[struct {
		Code string `json:"code"`
	}](r)
	if err != nil {
		fail(w, err)
		return
	}
	cookie, token, l := d.cfg.Sessions.signIn(strings.TrimSpace(in.Code))
	if l == nobody {
		fail(w, &client.Error{Status: http.StatusUnauthorized, Message: "this code was used, is too old or mistyped: `piswarm dashboard`, on this node, prints another"})
		return
	}
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: cookie, Path: "/", MaxAge: int(sessionLife.Seconds()), HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
	answer(w, http.StatusOK, signedIn{token, l >= writer})
}

func (d *Dashboard) signOut(w http.ResponseWriter, r *http.Request) {
	if who, signed := d.visitor(r); signed {
		d.cfg.Sessions.signOut(who)
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Path: "/", MaxAge: -1, HttpOnly: true, SameSite: http.SameSiteStrictMode})
	answer(w, http.StatusOK, struct{}{})
}
