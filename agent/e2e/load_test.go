package e2e

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/lab"
)

// load is wrk, asking one port of one node from the laptop until it is stopped.
type load struct {
	what string
	stop string // the file whose appearance ends it
	done chan loaded
}

// loaded is how it ended.
type loaded struct {
	out string
	err error
}

// wrk begins to ask a port such as pi1:9000, by connections that are kept or by a new one for each request.
func (s *shelf) wrk(port string, keepAlive bool) *load {
	s.t.Helper()
	l := &load{what: port + ", a connection for each request", done: make(chan loaded, 1)}
	header := "-H 'Connection: close'"
	if keepAlive {
		l.what, header = port+", kept connections", ""
	}
	l.stop = fmt.Sprintf("/tmp/stop-wrk-%d", time.Now().UnixNano())
	// wrk prints its count when it is interrupted.
	// In CI two labs share a small machine with it.
	script := fmt.Sprintf("wrk -t1 -c%d -d600s %s http://%s/ & pid=$!; while [ ! -e %s ]; do sleep 0.1; done; kill -INT $pid; wait $pid", rounds(1, 4), header, port, l.stop)
	go func() {
		ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Minute)
		defer cancel()
		var out, errs strings.Builder
		code, err := s.lab.Exec(ctx, lab.LaptopName, []string{"sh", "-c", script}, lab.Stdio{Out: &out, Err: &errs})
		if err == nil && code != 0 {
			err = fmt.Errorf("exit code %d: %s", code, errs.String())
		}
		l.done <- loaded{out.String(), err}
	}()
	return l
}

// wantNone stops it, and checks that it made enough requests and none failed.
func (s *shelf) wantNone(what string, l *load, enough int) {
	s.t.Helper()
	s.must("laptop", "touch", l.stop)
	end := <-l.done
	requests, failed, err := readWrk(end.out)
	switch {
	case end.err != nil || err != nil:
		s.t.Errorf("%s: %s: %v %v\n%s", what, l.what, end.err, err, end.out)
	case failed != "":
		s.t.Errorf("%s: %s: of %d requests: %s", what, l.what, requests, failed)
	case requests < enough:
		s.t.Errorf("%s: %s: only %d requests, want %d", what, l.what, requests, enough)
	default:
		s.t.Logf("%s: %s: %d requests, none failed", what, l.what, requests)
	}
}

// under has the change made while two nodes' ports are asked, one by kept connections and one by a new connection for
// each request. No request may fail. It goes on for a moment after the change, and until enough was asked.
func (s *shelf) under(what string, change func()) {
	s.t.Helper()
	loads := []*load{s.wrk("pi1:9000", true), s.wrk("pi2:9000", false)}
	began := time.Now()
	time.Sleep(time.Second)
	change()
	s.t.Logf("%s: %.1f s", what, time.Since(began).Seconds())
	time.Sleep(max(time.Second, span(0, 4*time.Minute)-time.Since(began)))
	for _, l := range loads {
		s.wantNone(what, l, rounds(1_000, 100_000))
	}
}

var (
	wrkRequests = regexp.MustCompile(`(\d+) requests in `)
	wrkFailures = regexp.MustCompile(`(?m)^\s*(Socket errors: .*|Non-2xx or 3xx responses: \d+)$`)
)

// readWrk returns how many requests wrk counted, and what it says of failures.
func readWrk(out string) (requests int, failed string, err error) {
	m := wrkRequests.FindStringSubmatch(out)
	if m == nil {
		return 0, "", fmt.Errorf("wrk printed no count")
	}
	if requests, err = strconv.Atoi(m[1]); err != nil {
		return 0, "", err
	}
	if f := wrkFailures.FindAllStringSubmatch(out, -1); f != nil {
		for _, m := range f {
			failed += m[1] + "; "
		}
	}
	return requests, strings.TrimSuffix(failed, "; "), nil
}

func TestReadWrk(t *testing.T) {
	const good = "Running 10m test @ http://pi1:9000/\n  1 threads and 8 connections\n  5021 requests in 1.00s, 0.9MB read\nRequests/sec:   5000\n"
	const bad = "  77 requests in 1.00s, 0.9MB read\n  Socket errors: connect 1, read 0, write 0, timeout 0\n  Non-2xx or 3xx responses: 3\nRequests/sec:   5000\n"
	if n, failed, err := readWrk(good); n != 5021 || failed != "" || err != nil {
		t.Errorf("%d, %q, %v", n, failed, err)
	}
	if n, failed, err := readWrk(bad); n != 77 || failed != "Socket errors: connect 1, read 0, write 0, timeout 0; Non-2xx or 3xx responses: 3" || err != nil {
		t.Errorf("%d, %q, %v", n, failed, err)
	}
	if _, _, err := readWrk("unable to connect"); err == nil {
		t.Error("no count, and no error")
	}
}
