package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/lab"
)

// shelf is a lab with its test.
type shelf struct {
	t   *testing.T
	lab *lab.Lab
}

// newShelf switches on so many virtual Pis whose cards carry one token, and waits until they are one cluster.
func newShelf(t *testing.T, nodes int) *shelf {
	t.Helper()
	s := startLab(t, nodes, trust.NewSecret().Token())
	s.awaitReady(nodes)
	return s
}

func startLab(t *testing.T, nodes int, token string) *shelf {
	t.Helper()
	return startLabOf(t, nodes, token, binary)
}

func startLabOf(t *testing.T, nodes int, token, binary string) *shelf {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := lab.Start(ctx, lab.Options{Nodes: nodes, Binary: binary, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return own(t, l)
}

// own ends the lab with the test.
func own(t *testing.T, l *lab.Lab) *shelf {
	s := &shelf{t: t, lab: l}
	t.Cleanup(func() {
		if t.Failed() {
			s.logs()
		}
		if err := l.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	return s
}

// logs shows what the agents said, for a test that failed.
func (s *shelf) logs() {
	for _, h := range s.lab.List() {
		if h.Name == lab.LaptopName {
			continue
		}
		path, err := s.lab.LogFile(h.Name, "agent")
		if err != nil {
			continue
		}
		raw, _ := os.ReadFile(path)
		s.t.Logf("agent of %s:\n%s", h.Name, raw[max(0, len(raw)-6000):])
	}
}

// result is how a command ended.
type result struct {
	code     int
	out, err string
}

// on runs a command on a host, whatever its exit code.
func (s *shelf) on(host string, argv ...string) result {
	s.t.Helper()
	return s.feed(nil, host, argv...)
}

func (s *shelf) feed(in []byte, host string, argv ...string) result {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	stdio := lab.Stdio{Out: &out, Err: &errs}
	if in != nil {
		stdio.In = bytes.NewReader(in)
	}
	code, err := s.lab.Exec(ctx, host, argv, stdio)
	if err != nil {
		s.t.Fatalf("%s on %s: %v", strings.Join(argv, " "), host, err)
	}
	return result{code, out.String(), errs.String()}
}

// must runs a command that has to succeed, and returns what it printed.
func (s *shelf) must(host string, argv ...string) string {
	s.t.Helper()
	r := s.on(host, argv...)
	if r.code != 0 {
		s.t.Fatalf("%s on %s: exit %d\n%s%s", strings.Join(argv, " "), host, r.code, r.out, r.err)
	}
	return r.out
}

// piswarm runs a line of the command line on a host.
func (s *shelf) piswarm(host, line string) string {
	s.t.Helper()
	return s.must(host, append([]string{"piswarm"}, strings.Fields(line)...)...)
}

// load loads the greeter image on one node.
func (s *shelf) load(host string) {
	s.t.Helper()
	tar, err := os.ReadFile(greeterTar)
	if err != nil {
		s.t.Fatal(err)
	}
	if r := s.feed(tar, host, "piswarm", "image", "load"); r.code != 0 {
		s.t.Fatalf("image load: %s", r.err)
	}
}

// eventually waits for what a cluster brings about in its own time.
func (s *shelf) eventually(within time.Duration, what string, ok func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("not within %s: %s", within, what)
		}
	}
}

func (s *shelf) awaitReady(nodes int) {
	s.t.Helper()
	var r result
	done := false
	defer func() {
		if !done {
			s.t.Logf("it said last: exit %d: %s%s", r.code, r.out, r.err)
		}
	}()
	for _, h := range s.lab.List()[:nodes] {
		s.eventually(30*time.Second, fmt.Sprintf("%s sees %d nodes ready", h.Name, nodes), func() bool {
			r = s.on(h.Name, "piswarm", "node", "ls", "--format", "json")
			var all []client.NodeStatus
			if r.code != 0 || json.Unmarshal([]byte(r.out), &all) != nil {
				return false
			}
			all = slices.DeleteFunc(all, func(n client.NodeStatus) bool { return n.State == cluster.Waiting })
			if len(all) != nodes {
				return false
			}
			for _, n := range all {
				if n.State != cluster.Ready || n.Arch == "" {
					return false
				}
			}
			return true
		})
	}
	done = true
}

// tasks lists a service's tasks as a node sees them.
func (s *shelf) tasks(host, service string) []client.Task {
	s.t.Helper()
	var all []client.Task
	argv := []string{"piswarm", "ps", "--format", "json"}
	if service != "" {
		argv = append(argv, service)
	}
	if err := json.Unmarshal([]byte(s.must(host, argv...)), &all); err != nil {
		s.t.Fatal(err)
	}
	return all
}

func (s *shelf) status(host string) client.Status {
	s.t.Helper()
	var all client.Status
	if err := json.Unmarshal([]byte(s.must(host, "piswarm", "status", "--format", "json")), &all); err != nil {
		s.t.Fatal(err)
	}
	return all
}

// count counts lines.
func count(text string) map[string]int {
	n := map[string]int{}
	for line := range strings.Lines(text) {
		n[strings.TrimSpace(line)]++
	}
	return n
}

// wantEven checks that so many hosts answered equally often.
func (s *shelf) wantEven(what, answers string, hosts, each int) {
	s.t.Helper()
	got := count(answers)
	if len(got) != hosts {
		s.t.Errorf("%s: %d hosts answered, want %d: %v", what, len(got), hosts, got)
	}
	for host, n := range got {
		if n != each {
			s.t.Errorf("%s: %q %d times, want %d", what, host, n, each)
		}
	}
}

// fetch fetches a URL n times from a host, one after the other, each time by a connection of its own.
func (s *shelf) fetch(host, url string, n int) string {
	s.t.Helper()
	return s.must(host, greeter, "get", fmt.Sprint(n), url)
}
