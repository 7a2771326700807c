package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestInProcessAnswersLikeASocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := InProcess(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/version" {
				w.WriteHeader(http.StatusNotFound)
				fmt.Fprint(w, `{"error":"no such route"}`)
				return
			}
			fmt.Fprint(w, `{"version":"7"}`)
		}))
		defer c.Close()
		for range 3 { // the second call finds the connection of the first
			v, err := c.Version(t.Context())
			if err != nil || v.Version != "7" {
				t.Fatalf("version %+v, %v", v, err)
			}
		}
		_, err := c.Services(t.Context())
		var problem *Error
		if !errors.As(err, &problem) || problem.Status != http.StatusNotFound || problem.Message != "no such route" {
			t.Errorf("the API's own error came as %v", err)
		}
	})
}

func TestInProcessStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		c := InProcess(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(ended)
			fmt.Fprint(w, "data: {\"kind\":\"service\"}\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done() // the caller went away
		}))
		defer c.Close()
		events, err := c.Events(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if e, err := events.Next(); err != nil || e.Kind != "service" {
			t.Errorf("event %+v, %v before the answer has ended", e, err)
		}
		events.Close()
		<-ended
	})
}

// An upload is answered while it runs, and is no larger in memory for being in the same process.
func TestInProcessIsFullDuplex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 8 << 20
		c := InProcess(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			control := http.NewResponseController(w)
			_ = control.EnableFullDuplex()
			fmt.Fprintln(w, `{"message":"loading"}`)
			_ = control.Flush()
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprintf(w, "{\"message\":\"%d %v\",\"done\":true}\n", n, err)
		}))
		defer c.Close()
		var told []Progress
		_, err := c.LoadImages(t.Context(), bytes.NewReader(make([]byte, size)), func(p Progress) { told = append(told, p) })
		if err != nil || len(told) != 1 || told[0].Message != "loading" {
			t.Errorf("told %+v, %v", told, err)
		}
	})
}

// Whoever speaks HTTP itself, as a shell in a container does, takes the connection over.
func TestInProcessGivesTheConnectionAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := InProcess(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprint(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
			_, _ = io.Copy(conn, conn)
		}))
		conn, err := c.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "POST /v1/exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		in := bufio.NewReader(conn)
		resp, err := http.ReadResponse(in, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%v, %v", resp, err)
		}
		fmt.Fprintln(conn, "echo")
		if line, err := in.ReadString('\n'); err != nil || line != "echo\n" {
			t.Errorf("%q, %v", line, err)
		}
	})
}

func TestInProcessOutlivesAHandlerThatPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := InProcess(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := c.Version(ctx); err == nil || !strings.Contains(err.Error(), "this node") {
			t.Errorf("cut off with %v", err)
		}
	})
}
