package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// addReach answers for tasks: their output, and a program that repeats its input and ends with 5.
func (f *fakeAgent) addReach(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/logs", func(w http.ResponseWriter, r *http.Request) {
		f.note(r, "")
		if r.URL.Query().Get("task") == "nobody" {
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(client.Problem{Error: "no task nobody"})
			return
		}
		at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
		for _, l := range []client.LogLine{
			{Node: "pi1", Service: "greeters", Slot: 1, Task: "abcdefghijklmnop", Time: at, Text: "first "},
			{Node: "pi12", Service: "greeters", Slot: 2, Task: "bcdefghijklmnopq", Time: at, Text: "begins ", Partial: true},
			{Node: "pi12", Service: "greeters", Slot: 2, Task: "bcdefghijklmnopq", Time: at, Text: "and ends"},
			{Node: "pi12", Service: "greeters", Slot: 2, Task: "bcdefghijklmnopq", Time: at, Text: "torn", Partial: true},
			{Node: "pi1", Service: "greeters", Slot: 1, Task: "abcdefghijklmnop", Time: at, Text: "last"},
			{Node: "pi3", Error: "output of node pi3 cannot be read: it is\ndown"},
		} {
			_ = json.NewEncoder(w).Encode(l)
		}
	})
	mux.HandleFunc("POST /v1/tasks/{task}/exec", func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		in := client.NewFrameReader(r.Body)
		_, raw, err := in.Next()
		if err != nil {
			return
		}
		f.note(r, string(raw))
		if strings.Contains(string(raw), "missing") {
			w.WriteHeader(http.StatusUnprocessableEntity)
			_ = json.NewEncoder(w).Encode(client.Problem{Error: "no such program"})
			return
		}
		w.WriteHeader(http.StatusOK)
		send := func(kind client.FrameKind, data string) {
			_ = client.WriteFrame(w, kind, []byte(data))
			_ = http.NewResponseController(w).Flush()
		}
		send(client.FrameStderr, "oh\n")
		for over := !strings.Contains(string(raw), `"stdin":true`); !over; {
			kind, data, err := in.Next()
			if err != nil {
				return
			}
			switch kind {
			case client.FrameResize:
				send(client.FrameStdout, "resized "+string(data)+"\n")
				over = true
			case client.FrameStdin:
				send(client.FrameStdout, "got "+string(data))
			case client.FrameEOF:
				over = true
			}
		}
		send(client.FrameExit, `{"code":5}`)
	})
	mux.HandleFunc("GET /v1/stats", func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.readings++
		n := f.readings
		f.mu.Unlock()
		at := time.Date(2026, 1, 2, 3, 4, 5+n, 0, time.UTC)
		_ = json.NewEncoder(w).Encode([]client.NodeStats{
			{ID: "n1", Name: "pi1", Time: at, CPUNanos: uint64(n) * 2e9, CPUs: 4, MemoryBytes: 100 << 20, MemoryTotal: 512 << 20, Load: 0.5, Temperature: 48.6, UptimeSeconds: 7200, Tasks: []client.TaskStats{
				{Task: "t1", Service: "greeters", Slot: 1, Node: "pi1", Time: at, CPUNanos: uint64(n) * 1e7, MemoryBytes: 3 << 20, Pids: 4},
				{Task: "t2", Service: "web", Slot: 1, Node: "pi1", Time: at, CPUNanos: uint64(n) * 5e8, MemoryBytes: 8 << 20, MemoryLimit: 64 << 20, Pids: 2},
			}},
			{ID: "n2", Name: "pi2", Error: "it is down"},
		})
	})
}

func (f *fakeAgent) note(r *http.Request, body string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+body))
}

func (f *fakeAgent) last() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[len(f.requests)-1]
}

// run runs a line of the command line.
func (f *fakeAgent) run(t *testing.T, line string) (out, errs string, code int) {
	t.Helper()
	return f.runWith(t, "", line)
}

func (f *fakeAgent) runWith(t *testing.T, stdin, line string) (out, errs string, code int) {
	t.Helper()
	r := run(t, f, stdin, strings.Fields(line)...)
	return r.stdout, r.stderr, r.code
}

func reachable(t *testing.T) *fakeAgent {
	f := newFakeAgent(t)
	f.services = []client.Service{{Service: cluster.Service{ID: "svc1id", Spec: cluster.Spec{Name: "greeters"}}}}
	return f
}

func TestLogs(t *testing.T) {
	f := reachable(t)
	for line, want := range map[string]string{
		"logs greeters": "greeters.1.abcdefghijkl@pi1    | first \n" +
			"greeters.2.bcdefghijklm@pi12    | begins and ends\ngreeters.2.bcdefghijklm@pi12    | torn\ngreeters.1.abcdefghijkl@pi1     | last\n",
		"logs --raw -t greeters":          "2026-01-02T03:04:05.006Z first \n2026-01-02T03:04:05.006Z begins and ends\n2026-01-02T03:04:05.006Z torn\n2026-01-02T03:04:05.006Z last\n",
		"service logs --no-task-ids svc1": "greeters.1@pi1    | first \ngreeters.2@pi12    | begins and ends\ngreeters.2@pi12    | torn\ngreeters.1@pi1     | last\n",
	} {
		out, errs, code := f.run(t, line)
		if out != want || code != 0 || errs != "piswarm: output of node pi3 cannot be read: it is down\n" {
			t.Errorf("%s: exit %d\n%s%s\nwant %s", line, code, out, errs, want)
		}
	}
	for line, want := range map[string]string{
		"logs -n 7 greeters": "GET /v1/logs?service=greeters&tail=7", "logs -f --tail 0 greeters": "GET /v1/logs?follow=true&service=greeters&tail=0",
		"logs greeters.1": "GET /v1/logs?task=greeters.1", "logs --since 2026-01-02T03:04:05Z greeters": "GET /v1/logs?service=greeters&since=2026-01-02T03%3A04%3A05Z",
	} {
		f.run(t, line)
		if got := f.last(); got != want {
			t.Errorf("%s: %s\nwant %s", line, got, want)
		}
	}
	for line, want := range map[string]string{
		"logs nobody": "no service and no task named nobody", "logs": "needs a service or a task", "logs --tail x greeters": "want a number of lines, or all",
		"logs --since yesterday greeters": "want how long ago, a date or seconds since 1970", "logs a b": "but got also \"b\"",
	} {
		if _, errs, code := f.run(t, line); code != 1 || !strings.Contains(errs, want) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit %d, %s", line, code, errs)
		}
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "10m": now.Add(-10 * time.Minute), "2026-01-01": now.Add(-27*time.Hour - 4*time.Minute - 5*time.Second), "1767323045.5": now.Add(500 * time.Millisecond),
		"2026-01-02T03:04": now.Add(-5 * time.Second),
	} {
		if got, err := parseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
}

func TestExec(t *testing.T) {
	f := reachable(t)
	t.Setenv("FROM_HERE", "yes")
	out, errs, code := f.runWith(t, "in", "exec -i -e A=b -e FROM_HERE -u 1:2 -w /x greeters.1 cat -i")
	if out != "got in" || errs != "oh\n" || code != 5 {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	if got, want := f.last(), `POST /v1/tasks/greeters.1/exec {"args":["cat","-i"],"stdin":true,"env":["A=b","FROM_HERE=yes"],"user":"1:2","dir":"/x"}`; got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if out, errs, code := f.run(t, "exec greeters.1 missing"); code != 127 || out != "" || errs != "piswarm: no such program\n" {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	if _, errs, code := f.runWith(t, "in", "exec -it greeters.1 sh"); code != 1 || !strings.Contains(errs, "standard input is none: leave out -t") {
		t.Errorf("exit %d, %q", code, errs)
	}
	if _, errs, code := f.run(t, "exec greeters.1"); code != 1 || !strings.Contains(errs, "needs a task and a command") {
		t.Errorf("exit %d, %q", code, errs)
	}
}

func TestTop(t *testing.T) {
	f := reachable(t)
	out, errs, code := f.run(t, "top")
	want := `NODE  CPU    LOAD  MEMORY           TEMP   TASKS  UP
pi1   50.0%  0.50  100MiB / 512MiB  49 °C  2      2 hours
pi2                it is down

TASK        NODE  CPU    MEMORY        PIDS
web.1       pi1   50.0%  8MiB / 64MiB  2
greeters.1  pi1   1.0%   3MiB          4
`
	if out != want || errs != "" || code != 0 {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	if out, _, _ := f.run(t, "top --format json"); !strings.HasPrefix(out, `[{"id":"n1","name":"pi1"`) {
		t.Errorf("%s", out)
	}
}

func TestEventFilters(t *testing.T) {
	for filter, want := range map[string]string{
		"": "abcd", "kind=task": "b", "service=greeters": "ab", "node=pi1": "bc", "action=removed": "d", "name=greet": "ab",
	} {
		var args []string
		if filter != "" {
			args = []string{filter}
		}
		f, err := parseFilter(args, eventMatchers)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, e := range []client.Event{
			{ID: "a", Kind: "service", Action: "created", Name: "greeters"}, {ID: "b", Kind: "task", Action: "running", Name: "greeters.1", Service: "greeters", Node: "pi1"},
			{ID: "c", Kind: "node", Action: "down", Name: "pi1"}, {ID: "d", Kind: "secret", Action: "removed", Name: "db"},
		} {
			if f.keeps(e) {
				got += e.ID
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", filter, got, want)
		}
	}
	e := client.Event{Kind: "task", Action: "failed", Name: "greeters.1", Node: "pi1", Text: "ended\x1b[2J", Time: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)}
	if got := eventLine(e); got != "2026-01-02T03:04:05.006Z task failed greeters.1 on pi1: ended [2J" {
		t.Errorf("%q", got)
	}
}

func TestExitCodeOfItsOwn(t *testing.T) {
	var errs strings.Builder
	a := newApp(nil, io.Discard, &errs)
	if code := a.report(errors.Join(errors.New("why"), exitCodeError(127))); code != 127 || errs.String() != "piswarm: why\n" {
		t.Errorf("%d, %q", code, errs.String())
	}
	if code := a.report(fmt.Errorf("%w", exitCodeError(3))); code != 3 {
		t.Errorf("%d", code)
	}
}
