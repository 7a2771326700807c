package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// fakeTasks are the containers of a node, in memory.
type fakeTasks struct {
	mu      sync.Mutex
	lines   map[string][]string // by task
	grown   chan struct{}
	calls   []string
	running int // commands
}

func newFakeTasks() *fakeTasks {
	return &fakeTasks{lines: map[string][]string{}, grown: make(chan struct{})}
}

func (f *fakeTasks) write(task string, lines ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines[task] = append(f.lines[task], lines...)
	close(f.grown)
	f.grown = make(chan struct{})
}

func (f *fakeTasks) Lines(ctx context.Context, id string, q LinesQuery, each func(Line) error) error {
	at := 0
	fmt.Sscan(q.After, &at)
	for first := true; ; first = false {
		f.mu.Lock()
		lines, ok := f.lines[id]
		grown := f.grown
		f.mu.Unlock()
		if !ok {
			return fs.ErrNotExist
		}
		if first && q.After == "" && q.Tail >= 0 {
			at = max(len(lines)-q.Tail, 0)
		}
		for ; at < len(lines); at++ {
			if err := each(Line{Text: lines[at], Time: time.Unix(int64(at), 0).UTC(), At: fmt.Sprint(at + 1)}); err != nil {
				return err
			}
		}
		if !q.Follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-grown:
		}
	}
}

// Run is a program that repeats its lines of input and knows a few words.
func (f *fakeTasks) Run(ctx context.Context, id string, spec client.ExecSpec, streams ExecIO) (int, error) {
	f.mu.Lock()
	f.calls = append(f.calls, "run "+id+" "+strings.Join(spec.Args, " "))
	f.mu.Unlock()
	if spec.Args[0] == "missing" {
		return 0, fmt.Errorf("%w: no such program", ErrRefused)
	}
	if err := streams.Started(); err != nil {
		return 0, err
	}
	f.mu.Lock()
	f.running++
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.running--
		f.mu.Unlock()
	}()
	fmt.Fprintf(streams.Stdout, "size %dx%d\n", spec.Size.Height, spec.Size.Width)
	words := make(chan string)
	go func() {
		defer close(words)
		if streams.Stdin == nil {
			return
		}
		for in := bufio.NewScanner(streams.Stdin); in.Scan(); {
			select {
			case words <- in.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case size := <-streams.Resize:
			fmt.Fprintf(streams.Stdout, "resized %dx%d\n", size.Height, size.Width)
		case word, ok := <-words:
			switch {
			case !ok:
				return 7, nil
			case word == "break":
				return 0, errors.New("the container ended")
			case strings.HasPrefix(word, "err "):
				fmt.Fprintln(streams.Stderr, word[4:])
			default:
				fmt.Fprintln(streams.Stdout, word)
			}
		}
	}
}

func (f *fakeTasks) Stop(_ context.Context, id, signal string, grace time.Duration) error {
	return f.note("stop %s %s %s", id, signal, grace)
}

func (f *fakeTasks) Signal(_ context.Context, id, signal string) error {
	if signal == "SIGWRONG" {
		return fmt.Errorf("%w: no such signal", ErrRefused)
	}
	return f.note("signal %s %s", id, signal)
}

func (f *fakeTasks) note(format string, args ...any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
	return nil
}

func (f *fakeTasks) told() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.calls, "; ")
}

func (f *fakeTasks) Usage(id string) (client.TaskStats, error) {
	if id == "t3" {
		return client.TaskStats{}, errors.New("it does not run")
	}
	return client.TaskStats{CPUNanos: 5, MemoryBytes: 6, Pids: 7}, nil
}

func (f *fakeTasks) NodeUsage() client.NodeStats { return client.NodeStats{CPUs: 4} }

// shelf is two nodes of one cluster whose every part between them is real: pi1, which people ask, and pi2, which runs web.2.
type shelf struct {
	one, two *fakeTasks
	nodes    [2]*fakeNode
	client   *client.Client
	http     string
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	sh := &shelf{one: newFakeTasks(), two: newFakeTasks()}
	secret := trust.NewSecret()
	members := []cluster.Member{
		{ID: "aaaa1111", Name: "pi1", Address: netip.MustParseAddr("192.168.1.20"), Condition: cluster.Ready},
		{ID: "aaaa2222", Name: "pi2", Address: netip.MustParseAddr("192.168.1.21"), Condition: cluster.Ready},
		{ID: "aaaa3333", Name: "pi3", Condition: cluster.Down},
	}
	var urls [2]string
	for i, tasks := range []*fakeTasks{sh.one, sh.two} {
		self := members[i].ID
		store, err := state.New(self, state.Snapshot{})
		if err != nil {
			t.Fatal(err)
		}
		n := &fakeNode{holders: 3}
		n.Member = fakeMember(n, store, members)
		n.Member.Tasks = tasks
		sh.nodes[i] = n
		fillShelf(t, store)
		identity, err := trust.NewIdentity(trust.Keyring{Primary: secret}, self)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewUnstartedServer(New(member{n}, slog.New(slog.DiscardHandler)).NodeHandler(Offer{}))
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
		server.TLS = identity.Server()
		server.StartTLS()
		t.Cleanup(server.Close)
		urls[i] = server.Listener.Addr().String()
		n.Member.Peer = func(node string) *http.Client {
			transport := http.DefaultTransport.(*http.Transport).Clone()
			transport.TLSClientConfig = identity.Client(node)
			transport.DialContext = nil
			t.Cleanup(transport.CloseIdleConnections)
			return &http.Client{Transport: rewrite{transport, map[string]string{"aaaa1111": urls[0], "aaaa2222": urls[1]}}}
		}
	}
	people := httptest.NewServer(New(member{sh.nodes[0]}, slog.New(slog.DiscardHandler)).Handler())
	t.Cleanup(people.Close)
	sh.http = people.URL
	sh.client = client.Over("pi1", dialer(people.Listener.Addr().String()))
	t.Cleanup(sh.client.Close)
	return sh
}

func fillShelf(t *testing.T, store *state.Store) {
	t.Helper()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	put(t, store, cluster.SettingsKey, cluster.ClusterSettings{Name: "home", Pool: cluster.DefaultPool})
	put(t, store, cluster.ServiceKey("web"), cluster.Service{ID: "s1", UpdatedAt: at, Spec: cluster.Spec{
		Name: "web", Mode: cluster.Replicated, Replicas: 4, Container: cluster.Container{Image: "web:1", StopGracePeriod: 3 * time.Second},
	}.WithDefaults()})
	put(t, store, cluster.PlanKey("web"), cluster.Plan{ServiceID: "s1", Tasks: []cluster.Task{
		{ID: "t1", Slot: 1, Node: "aaaa1111"}, {ID: "t2", Slot: 2, Node: "aaaa2222"}, {ID: "t3", Slot: 3, Node: "aaaa3333"}, {ID: "t4", Slot: 4, Reason: "no node has room"},
	}})
	put(t, store, cluster.ServiceKey("lone"), cluster.Service{ID: "s2", UpdatedAt: at, Spec: cluster.Spec{
		Name: "lone", Mode: cluster.Replicated, Replicas: 1, Container: cluster.Container{Image: "web:1"},
	}.WithDefaults()})
	put(t, store, cluster.PlanKey("lone"), cluster.Plan{ServiceID: "s2", Tasks: []cluster.Task{{ID: "abc123", Slot: 1, Node: "aaaa2222"}}})
	running := func(id, service, serviceID string, slot int) cluster.TaskStatus {
		return cluster.TaskStatus{ID: id, Service: service, ServiceID: serviceID, Slot: slot, State: cluster.Running, Since: at}
	}
	put(t, store, cluster.ReportKey("aaaa1111"), cluster.Report{Tasks: []cluster.TaskStatus{running("t1", "web", "s1", 1)}})
	put(t, store, cluster.ReportKey("aaaa2222"), cluster.Report{Tasks: []cluster.TaskStatus{running("t2", "web", "s1", 2), running("abc123", "lone", "s2", 1)}})
}

// rewrite dials where a node is, whatever its URL says.
type rewrite struct {
	*http.Transport
	to map[string]string
}

func (rw rewrite) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Host = rw.to[r.URL.Host]
	return rw.Transport.RoundTrip(r)
}

func output(t *testing.T, e *client.Exec) (stdout, stderr string, code int, err error) {
	t.Helper()
	var out, errs strings.Builder
	code, err = e.Wait(&out, &errs)
	return out.String(), errs.String(), code, err
}

// TestExecAnywhere runs a command here and on another node.
func TestExecAnywhere(t *testing.T) {
	for _, task := range []string{"web.1", "web.2", "lone"} {
		sh := newShelf(t)
		e, err := sh.client.Exec(t.Context(), task, client.ExecSpec{Args: []string{"cat"}, Stdin: true, TTY: true, Size: client.Size{Height: 24, Width: 80}})
		if err != nil {
			t.Fatalf("%s: %v", task, err)
		}
		if _, err := io.WriteString(e, "hello\nerr oh\n"); err != nil {
			t.Fatal(err)
		}
		if err := e.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		out, errs, code, err := output(t, e)
		if out != "size 24x80\nhello\n" || errs != "oh\n" || code != 7 || err != nil {
			t.Errorf("%s: %q %q %d %v", task, out, errs, code, err)
		}
	}
}

func dialer(address string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", address) }
}
