package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/snapshot"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/lab"
)

// soak tells whether this is the long series of `make soak`.
func soak() bool { return os.Getenv("PISWARM_SOAK") == "1" }

// together lets a test that mostly waits run beside another one. In the long series each has the machine for itself.
func together(t *testing.T) {
	if !soak() {
		t.Parallel()
	}
}

// rounds is how often something is done: seldom in CI, often in the long series.
func rounds(short, long int) int {
	if soak() {
		return long
	}
	return short
}

// span is how long something lasts, likewise.
func span(short, long time.Duration) time.Duration {
	return time.Duration(rounds(int(short), int(long)))
}

const (
	// knocking is how often the laptop tries each port, and patience how long it waits for the answer.
	knocking = 20 * time.Millisecond
	patience = 3 * time.Second
)

// knocks are requests from the laptop to ports, each by a connection of its own, that go on until they are stopped.
type knocks struct {
	s    *shelf
	stop context.CancelFunc
	work sync.WaitGroup

	mu     sync.Mutex
	asked  int
	failed []failure
}

// failure is a request that came to nothing.
type failure struct {
	at   time.Time // it was begun
	port string
	err  error
}

// knock asks ports such as pi1:9000 from now on.
func (s *shelf) knock(ports ...string) *knocks {
	ctx, stop := context.WithCancel(s.t.Context())
	k := &knocks{s: s, stop: stop}
	for _, port := range ports {
		k.work.Go(func() {
			tick := time.NewTicker(knocking)
			defer tick.Stop()
			for ctx.Err() == nil {
				k.work.Go(func() { k.ask(port) })
				select {
				case <-ctx.Done():
				case <-tick.C:
				}
			}
		})
	}
	return k
}

func (k *knocks) ask(port string) {
	at := time.Now()
	_, err := k.s.greet(k.s.t.Context(), port)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	if err != nil {
		k.failed = append(k.failed, failure{at, port, err})
	}
}

// end stops and waits for what is under way to be answered, or to fail.
func (k *knocks) end() {
	k.stop()
	k.work.Wait()
}

// lastFailure is when the last request that failed was begun; zero if none did.
func (k *knocks) lastFailure() (last time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.failed {
		if f.at.After(last) {
			last = f.at
		}
	}
	return last
}

// wantNone stops and checks that no request failed.
func (k *knocks) wantNone(what string) {
	k.s.t.Helper()
	k.end()
	if k.asked == 0 {
		k.s.t.Errorf("%s: nothing was asked", what)
	}
	for i, f := range k.failed {
		if i == 5 {
			k.s.t.Errorf("… and %d more", len(k.failed)-i)
			break
		}
		k.s.t.Errorf("%s: %s at %s: %v (%d of %d failed)", what, f.port, f.at.Format("15:04:05.000"), f.err, len(k.failed), k.asked)
	}
	k.s.t.Logf("%s: %d requests, %d failed", what, k.asked, len(k.failed))
}

// greet asks a port of a node from the laptop and returns who answered.
func (s *shelf) greet(ctx context.Context, port string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return s.lab.Dial(ctx, lab.LaptopName, network, address)
		},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+port+"/", nil)
	if err != nil {
		return "", err
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", answer.Status, body)
	}
	return strings.TrimSpace(string(body)), err
}

// ask calls the agent of a node over its socket, which this machine reaches through the node's root directory.
func (s *shelf) ask(node string, f func(context.Context, *client.Client) error) error {
	root, err := s.lab.Root(node)
	if err != nil {
		return err
	}
	c, err := client.New("unix://" + root + "/run/piswarm/piswarm.sock")
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	return f(ctx, c)
}

// seen lists the tasks of a service as a node sees them; none while its agent does not answer.
func (s *shelf) seen(node, service string) (all []client.Task) {
	_ = s.ask(node, func(ctx context.Context, c *client.Client) (err error) {
		all, err = c.Tasks(ctx, service)
		return err
	})
	return all
}

// countRunning counts the tasks that run, planned or not.
func countRunning(tasks []client.Task) (n int) {
	for _, t := range tasks {
		if t.State == cluster.Running {
			n++
		}
	}
	return n
}

// exactly tells whether a node sees so many tasks of a service, all of them running.
func (s *shelf) exactly(node, service string, want int) bool {
	all := s.seen(node, service)
	return len(all) == want && countRunning(all) == want
}

// pis are the names of the first n Pis.
func pis(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("pi%d", i+1))
	}
	return names
}

// records are what a node has on disk: each persistent record with its version, in order of key.
func (s *shelf) records(node string) (text string, err error) {
	root, err := s.lab.Root(node)
	if err != nil {
		return "", err
	}
	// A copy, for opening a state file may set a corrupt one aside.
	dir, err := os.MkdirTemp(s.t.TempDir(), "state-")
	if err != nil {
		return "", err
	}
	raw, err := os.ReadFile(root + "/var/lib/piswarm/state/state")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "state"), raw, 0o600)
	}
	if err != nil {
		return "", err
	}
	_, contents, err := snapshot.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return "", err
	}
	var lines strings.Builder
	for _, r := range contents.State.Records {
		line, err := json.Marshal(r)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&lines, "%s\n", line)
	}
	return lines.String(), nil
}

// alike waits until all nodes have the same records, and returns them.
func (s *shelf) alike(within time.Duration, what string, nodes []string) string {
	s.t.Helper()
	began := time.Now()
	texts := map[string]string{}
	same := func() bool {
		for _, n := range nodes {
			text, err := s.records(n)
			if err != nil {
				text = n + ": " + err.Error()
			}
			texts[n] = text
		}
		for _, n := range nodes {
			if texts[n] != texts[nodes[0]] {
				return false
			}
		}
		return true
	}
	for !same() {
		if time.Since(began) > within {
			s.t.Errorf("%s: not the same state on all nodes within %s", what, within)
			for _, n := range nodes {
				s.t.Logf("%s:\n%s", n, texts[n])
			}
			return texts[nodes[0]]
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.t.Logf("%s: the same %d records everywhere after %.1f s", what, strings.Count(texts[nodes[0]], "\n"), time.Since(began).Seconds())
	return texts[nodes[0]]
}

// answering waits until a port of every node leads to exactly so many tasks. It may be asked by others, too, so that not
// each task gets as many of these requests.
func (s *shelf) answering(within time.Duration, what string, nodes []string, port, tasks int) {
	s.t.Helper()
	began := time.Now()
	for _, n := range nodes {
		s.eventually(max(within-time.Since(began), time.Second), fmt.Sprintf("%s: %s answers for %d tasks", what, n, tasks), func() bool {
			hosts := map[string]bool{}
			for range 4 * tasks {
				host, err := s.greet(s.t.Context(), fmt.Sprintf("%s:%d", n, port))
				if err != nil {
					return false
				}
				hosts[host] = true
			}
			return len(hosts) == tasks
		})
	}
	s.t.Logf("%s: every port answers for %d tasks after %.1f s", what, tasks, time.Since(began).Seconds())
}
