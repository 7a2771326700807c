package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestGreeting(t *testing.T) {
	if got, want := greeting("abc", ""), "Hello, Docker world from abc."; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := greeting("abc", "v2"), "Hello, Docker world from abc. v2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPaths(t *testing.T) {
	for path, want := range map[string]string{
		"/":        "Hello, Docker world from abc.\n",
		"/whoami":  "192.0.2.1\n",
		"/nothing": "404 page not found\n",
	} {
		w := httptest.NewRecorder()
		handler(t.Context(), "Hello, Docker world from abc.").ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if got := w.Body.String(); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

// TestGoodbye: while the greeter ends, a client learns with its answer that the connection is over.
func TestGoodbye(t *testing.T) {
	ending, end := context.WithCancel(t.Context())
	defer end()
	h := handler(ending, "Hello.")
	for _, want := range []string{"", "close"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if got := w.Header().Get("Connection"); got != want || w.Body.String() != "Hello.\n" {
			t.Errorf("Connection %q, want %q; body %q", got, want, w.Body)
		}
		end()
	}
}

// TestRun greets over both protocols and ends when it is told to, without an error.
func TestRun(t *testing.T) {
	// A port that is free for both; another program could take it in between, but not on a usual day.
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := probe.Addr().String()
	probe.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	end := make(chan error, 1)
	go func() { end <- run(ctx, address, "Hello.") }()

	var response *http.Response
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if response, err = http.Get("http://" + address + "/"); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || string(body) != "Hello.\n" {
		t.Errorf("by HTTP: got %q, error %v", body, err)
	}
	conn, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	conn.Write([]byte("?"))
	answer := make([]byte, 100)
	n, err := conn.Read(answer)
	if err != nil || string(answer[:n]) != "Hello." {
		t.Errorf("by UDP: got %q, error %v", answer[:n], err)
	}
	cancel()
	select {
	case err := <-end:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Error("it did not end")
	}
}
