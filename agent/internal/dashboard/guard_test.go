package dashboard

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// browser is a client that has a cookie and a token, or not.
type browser struct {
	page          page
	cookie, token string
}

// signIn signs a browser in as the page does.
func signIn(t testing.TB, p page, write bool) browser {
	t.Helper()
	r := browser{page: p}.request(t, "POST", "/sign-in", `{"code":"`+p.cfg.Sessions.Invite(write)+`"}`)
	answer := do(t, r)
	defer answer.Body.Close()
	var in signedIn
	if err := json.NewDecoder(answer.Body).Decode(&in); err != nil || answer.StatusCode != http.StatusOK || in.Token == "" || in.Write != write {
		t.Fatalf("sign in: %s %+v %v", answer.Status, in, err)
	}
	cookies := answer.Cookies()
	if len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode || cookies[0].MaxAge <= 0 {
		t.Fatalf("cookies %v", cookies)
	}
	return browser{p, cookies[0].Value, in.Token}
}

// request is one as the page's script makes it.
func (b browser) request(t testing.TB, method, path, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, b.page.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Origin", b.page.url)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if b.cookie != "" {
		r.AddCookie(&http.Cookie{Name: cookieName, Value: b.cookie})
	}
	if b.token != "" {
		r.Header.Set(tokenHeader, b.token)
	}
	return r
}

func do(t testing.TB, r *http.Request) *http.Response {
	t.Helper()
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// status is how a request is answered, and what with.
func status(t testing.TB, r *http.Request) (int, string) {
	t.Helper()
	answer := do(t, r)
	defer answer.Body.Close()
	if answer.Header.Get("Content-Type") == "text/event-stream" {
		return answer.StatusCode, ""
	}
	raw, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(raw)
}

// paths are all routes with something in them, and what they take.
var paths = []struct{ method, path, body string }{
	{"GET", "/api/stream", ""},
	{"GET", "/api/nodes/node0001", ""},
	{"GET", "/api/tasks/task00001", ""},
	{"POST", "/api/nodes/node0001/availability", `{"availability":"drain"}`},
	{"POST", "/api/services/service1/scale", `{"replicas":3}`},
	{"POST", "/api/services/service1/restart", `{}`},
	{"DELETE", "/api/services/service1", ``},
}

// TestWhoMayWhat: each route, for everybody.
func TestWhoMayWhat(t *testing.T) {
	closed, open := open(t, newShelf(2, 1, 2), false), open(t, newShelf(2, 1, 2), true)
	look, write := signIn(t, closed, false), signIn(t, closed, true)
	for name, test := range map[string]struct {
		browser
		get, change int
	}{
		"a stranger":                       {browser{page: closed}, 401, 401},
		"a stranger where all may look":    {browser{page: open}, 200, 401},
		"who signed in to look":            {look, 200, 403},
		"who signed in to write":           {write, 200, 200},
		"a cookie without its token":       {browser{closed, write.cookie, ""}, 401, 401},
		"a token without its cookie":       {browser{closed, "", write.token}, 401, 401},
		"another's token":                  {browser{closed, write.cookie, look.token}, 401, 401},
		"guesses":                          {browser{closed, "x", "y"}, 401, 401},
		"a session of another node's page": {browser{open, write.cookie, write.token}, 200, 401},
	} {
		t.Run(name, func(t *testing.T) {
			for _, p := range paths {
				want := test.get
				if p.method != "GET" {
					want = test.change
				}
				if got, text := status(t, test.request(t, p.method, p.path, p.body)); got != want {
					t.Errorf("%s %s: %d %s, want %d", p.method, p.path, got, text, want)
				}
			}
		})
	}
	want := []string{`DELETE /v1/services/service1`, `PATCH /v1/nodes/node0001 {"availability":"drain"}`, `POST /v1/services/service1/scale {"replicas":3}`}
	asked := slices.DeleteFunc(closed.shelf.requests(), func(s string) bool { return strings.HasPrefix(s, "PUT ") })
	if slices.Sort(asked); !slices.Equal(asked, want) {
		t.Errorf("the API was asked %q, want %q", asked, want)
	}
	if got := open.shelf.requests(); len(got) > 0 {
		t.Errorf("strangers asked the API %q", got)
	}
}

// TestOtherPages: what the pages of others make a browser ask that is signed in here.
func TestOtherPages(t *testing.T) {
	p := open(t, newShelf(2, 1, 2), false)
	b := signIn(t, p, true)
	for name, change := range map[string]func(*http.Request){
		"no origin":                        func(r *http.Request) { r.Header.Del("Origin") },
		"the origin null":                  func(r *http.Request) { r.Header.Set("Origin", "null") },
		"another site":                     func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") },
		"another port of this node":        func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:9000") },
		"https":                            func(r *http.Request) { r.Header.Set("Origin", "https://"+r.Host) },
		"the browser says another site":    func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"the browser says the same site":   func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-site") },
		"a name that leads here (rebound)": func(r *http.Request) { r.Host = "evil.example"; r.Header.Set("Origin", "http://evil.example") },
		"a name like this node's": func(r *http.Request) {
			r.Host = "pi1.local.evil.example:7948"
			r.Header.Set("Origin", "http://"+r.Host)
		},
		"no host": func(r *http.Request) { r.Host = " " },
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range paths {
				if path.method == "GET" && (name == "no origin") {
					continue // browsers send none with what their own page reads
				}
				r := b.request(t, path.method, path.path, path.body)
				change(r)
				if got, text := status(t, r); got != http.StatusForbidden && got != http.StatusBadRequest {
					t.Errorf("%s %s: %d %s", path.method, path.path, got, text)
				}
			}
		})
	}
	if got := p.shelf.requests(); len(got) > 0 {
		t.Errorf("the API was asked %q", got)
	}
}

func TestLocalName(t *testing.T) {
	for host, want := range map[string]bool{
		"192.168.1.20:7948": true, "127.0.0.1:7948": true, "[::1]:7948": true, "[fe80::1]": true, "localhost:7948": true, "pi1": true, "pi1:7948": true,
		"pi1.local:7948": true, "piswarm.local.": true, "PI1.LAN": true, "pi1.home.arpa": true, "a.internal": true,
		"evil.example": false, "local.evil.example:7948": false, "": false, ":7948": false, "pi1.local.evil": false, "192.168.1.20.evil.example": false,
		"pi 1": false, "pi1.local/": false, "pi1@x.local": false, "\x00.local": false, "xn--e1afmkfd.example": false,
	} {
		if got := localName(host); got != want {
			t.Errorf("localName(%q) = %t", host, got)
		}
	}
}

// TestHeaders: every answer, also one of what is not there, says what a browser must not make of it.
func TestHeaders(t *testing.T) {
	p := open(t, newShelf(1, 1, 1), true)
	for _, path := range append(slices.Sorted(maps.Keys(files)), "/api/hello", "/api/nodes/node0001", "/api/nodes/none", "/nothing", "/api/stream", "/metrics") {
		answer := do(t, browser{page: p}.request(t, "GET", strings.TrimSuffix(path, "{$}"), ""))
		answer.Body.Close()
		h := answer.Header
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" ||
			!strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") || strings.Contains(h.Get("Content-Security-Policy"), "unsafe") ||
			h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %v", path, h)
		}
	}
}

// TestPageIsSmall, whole, and asks nobody else for anything.
func TestPageIsSmall(t *testing.T) {
	total := 0
	for path, f := range files {
		total += len(f.body)
		text := strings.ReplaceAll(string(f.body), "http://www.w3.org/2000/svg", "")
		text = strings.ReplaceAll(text, "`http://${location.hostname}:${published}/`", "")
		if strings.Contains(text, "http://") || strings.Contains(text, "https://") || strings.Contains(text, "innerHTML") || strings.Contains(text, "eval(") {
			t.Errorf("%s names another place, or makes markup or code of text", path)
		}
	}
	if total > 100<<10 {
		t.Errorf("the page has %d bytes, want at most 100 KB", total)
	}
	t.Logf("the page has %d bytes", total)
}

// TestCodes: each works once and not for ever, and only so many of them and of sessions are kept.
func TestCodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Sessions
		in := func(code string) session {
			cookie, token, _ := s.signIn(code)
			n, _ := s.find(cookie, token)
			return n
		}
		code := s.Invite(false)
		if n := in(code); n.level != looker {
			t.Errorf("a code to look makes %v", n.level)
		}
		if n := in(code); n.level != nobody {
			t.Error("a code works twice")
		}
		if n := in(""); n.level != nobody {
			t.Error("no code at all signs in")
		}
		old := s.Invite(true)
		time.Sleep(codeLife)
		if n := in(old); n.level != nobody {
			t.Error("a code works for ever")
		}
		first := s.Invite(true)
		for range maxCodes {
			s.Invite(true)
		}
		if n := in(first); n.level != nobody || len(s.codes) != maxCodes {
			t.Errorf("%d codes are kept", len(s.codes))
		}
		cookie, token, l := s.signIn(s.Invite(true))
		if n, ok := s.find(cookie, token); !ok || l != writer || n.level != writer {
			t.Fatal("a code to write does not")
		}
		for range maxSessions {
			s.signIn(s.Invite(false))
		}
		if _, ok := s.find(cookie, token); ok || len(s.sessions) != maxSessions {
			t.Errorf("%d sessions are kept", len(s.sessions))
		}
		cookie, token, _ = s.signIn(s.Invite(true))
		time.Sleep(sessionLife)
		if _, ok := s.find(cookie, token); ok {
			t.Error("a session lasts for ever")
		}
	})
}

// TestSignOut ends the session, and the stream that it has.
func TestSignOut(t *testing.T) {
	p := open(t, newShelf(2, 1, 2), false)
	b := signIn(t, p, false)
	stream := do(t, b.request(t, "GET", "/api/stream", ""))
	defer stream.Body.Close()
	if got, text := status(t, b.request(t, "POST", "/sign-out", "{}")); got != 200 {
		t.Fatalf("sign out: %d %s", got, text)
	}
	if got, _ := status(t, b.request(t, "GET", "/api/nodes/node0001", "")); got != 401 {
		t.Errorf("after signing out: %d", got)
	}
	p.shelf.move("task00001", "node0002") // the next message is not sent
	if _, err := io.Copy(io.Discard, stream.Body); err != nil {
		t.Errorf("the stream: %v", err)
	}
}

// TestMetrics are for who has the token, by whatever name the node is called.
func TestMetrics(t *testing.T) {
	p := open(t, newShelf(1, 1, 1), true)
	for authorization, want := range map[string]int{"": 401, "Bearer": 401, "Bearer wrong": 401, "Basic right": 401, "Bearer right": 200, "bearer right": 200} {
		r := browser{page: p}.request(t, "GET", "/metrics", "")
		r.Host = "pi1.shelf.example:7948"
		r.Header.Set("Authorization", authorization)
		if got, text := status(t, r); got != want || (got == 200) != strings.Contains(text, "piswarm_services") {
			t.Errorf("Authorization: %q: %d %s", authorization, got, text)
		}
	}
}

// FuzzRequest: whatever comes, a signed-in browser gets an answer, and never one of what the API keeps to itself.
func FuzzRequest(f *testing.F) {
	for _, p := range paths[1:] {
		f.Add(p.method, p.path, p.body, "application/json")
	}
	f.Add("POST", "/sign-in", `{"code":"x"}`, "application/json")
	f.Add("POST", "/sign-in", `{"code":`, "")
	f.Add("GET", "/metrics", "", "")
	f.Add("PUT", "/api/services/%2e%2e/scale", `{"replicas":-1}`, "text/plain")
	f.Add("POST", "/api/services/service1/scale", strings.Repeat("[", 5000), "application/json")
	s := newShelf(2, 1, 2)
	p := open(f, s, false)
	cookie, token, _ := p.cfg.Sessions.signIn(p.cfg.Sessions.Invite(true))
	handler := p.Handler()
	f.Fuzz(func(t *testing.T, method, path, body, kind string) {
		if strings.Contains(path, "/api/stream") {
			return // which has no end
		}
		r, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1/"+strings.TrimPrefix(path, "/"), strings.NewReader(body))
		if err != nil {
			return
		}
		r.Header.Set("Origin", "http://127.0.0.1")
		r.Header.Set("Content-Type", kind)
		r.Header.Set(tokenHeader, token)
		r.AddCookie(&http.Cookie{Name: cookieName, Value: cookie})
		w := httptest.NewRecorder()
		done := make(chan struct{})
		go func() {
			defer close(done)
			handler.ServeHTTP(w, r)
		}()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s %q hangs", method, path)
		}
		if w.Code < 200 || w.Code >= 600 || w.Code == http.StatusInternalServerError {
			t.Errorf("%s %q: %d %s", method, path, w.Code, w.Body)
		}
		if strings.Contains(w.Body.String(), "hunter2") {
			t.Errorf("%s %q tells an environment: %s", method, path, w.Body)
		}
	})
}
