package api

import (
	"bufio"
	"bytes"
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
	"slices"
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
	lives   map[string]int      // containers that a task had
	grown   chan struct{}
	calls   []string
	running int // commands
}

func newFakeTasks() *fakeTasks {
	return &fakeTasks{lines: map[string][]string{}, lives: map[string]int{}, grown: make(chan struct{})}
}

func (f *fakeTasks) write(task string, lines ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines[task] = append(f.lines[task], lines...)
	close(f.grown)
	f.grown = make(chan struct{})
}

// remove removes the container of a task, with its output.
func (f *fakeTasks) remove(task string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.lines, task)
	f.lives[task]++
	close(f.grown)
	f.grown = make(chan struct{})
}

func (f *fakeTasks) Lines(ctx context.Context, id string, q LinesQuery, each func(Line) error) error {
	at, life := 0, 0
	fmt.Sscan(q.After, &at)
	for first := true; ; first = false {
		f.mu.Lock()
		lines, ok := f.lines[id]
		grown := f.grown
		if first {
			life = f.lives[id]
		}
		over := life != f.lives[id]
		f.mu.Unlock()
		if over {
			return nil
		} else if !ok {
			return fs.ErrNotExist
		}
		if first && (q.After == "" || at > len(lines)) { // or it was in the output of another container
			at = 0
			if q.Tail >= 0 {
				at = max(len(lines)-q.Tail, 0)
			}
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

// TestExecEnds: with its caller, with its container, and with its node.
func TestExecEnds(t *testing.T) {
	for _, task := range []string{"web.1", "web.2"} {
		sh := newShelf(t)
		runs := func() int {
			n := 0
			for _, f := range []*fakeTasks{sh.one, sh.two} {
				f.mu.Lock()
				n += f.running
				f.mu.Unlock()
			}
			return n
		}
		e, err := sh.client.Exec(t.Context(), task, client.ExecSpec{Args: []string{"cat"}, Stdin: true})
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(10 * time.Second); runs() != 1; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("it does not run")
			}
		}
		e.Close()
		for deadline := time.Now().Add(10 * time.Second); runs() != 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the command outlives its caller", task)
			}
		}
		if e, err = sh.client.Exec(t.Context(), task, client.ExecSpec{Args: []string{"cat"}, Stdin: true}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(e, "break\n"); err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := output(t, e); err == nil || err.Error() != "the container ended" {
			t.Errorf("%s: %v", task, err)
		}
	}
}

// TestReachRefuses what cannot be reached, and says why.
func TestReachRefuses(t *testing.T) {
	sh := newShelf(t)
	exec := func(task string, args ...string) error {
		_, err := sh.client.Exec(t.Context(), task, client.ExecSpec{Args: args})
		return err
	}
	stats := func(task string) error {
		_, err := sh.client.TaskStats(t.Context(), task)
		return err
	}
	for want, err := range map[string]error{
		"no task nobody: `piswarm ps` lists them":                                         exec("nobody", "sh"),
		"web.3 was on node pi3, and that is down":                                         exec("web.3", "sh"),
		"web.4 is on no node yet: no node has room":                                       stats("web.4"),
		"web means 4 tasks: name one of them, for example web.1; `piswarm ps` lists them": stats("web"),
		"exec needs a command, for example sh":                                            exec("web.1"),
		"node pi2: exec needs a command, for example sh":                                  exec("web.2", ""),
		"refused: no such program":                                                        exec("web.1", "missing"),
		"node pi2: refused: no such program":                                              exec("web.2", "missing"),
		"node pi2: refused: no such signal":                                               sh.client.KillTask(t.Context(), "web.2", client.TaskKill{Signal: "SIGWRONG"}),
		"timeout -1: want seconds, 0 to 86400":                                            sh.client.StopTask(t.Context(), "web.2", client.TaskStop{Timeout: new(-1)}),
		"there is nothing named \"\"":                                                     stats(""),
	} {
		if err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	var refused *client.Error
	if err := exec("web.2", "missing"); !errors.As(err, &refused) || refused.Status != http.StatusUnprocessableEntity {
		t.Errorf("a missing program: %v", err)
	}
}

// TestMembersReachTasksOfTheNodeAlone, so that no question goes round in circles.
func TestMembersReachTasksOfTheNodeAlone(t *testing.T) {
	sh := newShelf(t)
	var out client.TaskStats
	err := sh.nodes[0].Member.ask(t.Context(), "aaaa2222", "pi2", reachLimit, http.MethodGet, TasksPath+"t1/stats", nil, &out)
	if err == nil || err.Error() != "node pi2: there is no task t1 here" {
		t.Errorf("%+v, %v", out, err)
	}
	if err := sh.nodes[0].Member.ask(t.Context(), "aaaa2222", "pi2", reachLimit, http.MethodGet, TasksPath+"t2/stats", nil, &out); err != nil || out.Task != "t2" {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestStopKillAndStats of tasks here and elsewhere.
func TestStopKillAndStats(t *testing.T) {
	sh := newShelf(t)
	for _, err := range []error{
		sh.client.StopTask(t.Context(), "web.1", client.TaskStop{}),
		sh.client.StopTask(t.Context(), "t2", client.TaskStop{Signal: "SIGINT", Timeout: new(7)}),
		sh.client.KillTask(t.Context(), "web.2", client.TaskKill{}),
		sh.client.KillTask(t.Context(), "abc", client.TaskKill{Signal: "SIGHUP"}),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	// A node may take as long to answer as the task to end.
	m := sh.nodes[0].Member
	put(t, m.Store, cluster.ServiceKey("slow"), cluster.Service{ID: "slow-id", SpecVersion: 1, Spec: cluster.Spec{
		Name: "slow", Container: cluster.Container{Image: "slow:1", StopGracePeriod: 5 * time.Minute},
	}})
	if got := stopTime(m, client.Task{Service: "slow", SpecVersion: 1}, client.TaskStop{}); got < 6*time.Minute {
		t.Errorf("another node may take %s to stop a task with five minutes to end", got)
	}
	if got := sh.one.told(); got != "stop t1  3s" {
		t.Errorf("pi1: %s", got)
	}
	if got := sh.two.told(); got != "stop t2 SIGINT 7s; signal t2 SIGKILL; signal abc123 SIGHUP" {
		t.Errorf("pi2: %s", got)
	}
	s, err := sh.client.TaskStats(t.Context(), "web.2")
	if err != nil || s.Time.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}
	s.Time = time.Time{}
	if want := (client.TaskStats{Task: "t2", Service: "web", Slot: 2, Node: "pi2", CPUNanos: 5, MemoryBytes: 6, Pids: 7}); s != want {
		t.Errorf("%+v", s)
	}
	all, err := sh.client.Stats(t.Context())
	if err != nil || len(all) != 3 {
		t.Fatalf("%+v, %v", all, err)
	}
	if all[0].Name != "pi1" || len(all[0].Tasks) != 1 || all[1].Name != "pi2" || len(all[1].Tasks) != 2 || all[1].CPUs != 4 || all[2].Error != "it is down" {
		t.Errorf("%+v", all)
	}
}

// words reads so many lines and returns them, in order of node, as NODE:TEXT.
func words(t *testing.T, l *client.Logs, n int) string {
	t.Helper()
	var got []string
	for len(got) < n {
		line, err := l.Next()
		if errors.Is(err, io.EOF) {
			got = append(got, "END")
			break
		} else if err != nil {
			t.Fatal(err)
		}
		got = append(got, line.Node+":"+line.Text+line.Error)
	}
	slices.Sort(got)
	return strings.Join(got, " ")
}

// TestLogs of a service and of tasks, wherever they are.
func TestLogs(t *testing.T) {
	sh := newShelf(t)
	sh.one.write("t1", "a", "b")
	sh.two.write("t2", "c", "d", "e")
	sh.two.write("abc123", "lone")
	for _, test := range []struct {
		q    client.LogsQuery
		want string
	}{
		{client.LogsQuery{Service: "web"}, "END pi1:a pi1:b pi2:c pi2:d pi2:e pi3:output of node pi3 cannot be read: it is down"},
		{client.LogsQuery{Service: "web", Tail: 1}, "END pi1:b pi2:e pi3:output of node pi3 cannot be read: it is down"},
		{client.LogsQuery{Service: "web", Tail: -1}, "END pi3:output of node pi3 cannot be read: it is down"},
		{client.LogsQuery{Task: "web.2", Tail: 2}, "END pi2:d pi2:e"},
		{client.LogsQuery{Task: "t1"}, "END pi1:a pi1:b"},
		{client.LogsQuery{Task: "lone"}, "END pi2:lone"},
	} {
		l, err := sh.client.Logs(t.Context(), test.q)
		if err != nil {
			t.Fatal(err)
		}
		if got := words(t, l, 10); got != test.want {
			t.Errorf("%+v: %s\nwant %s", test.q, got, test.want)
		}
		l.Close()
	}
	for q, want := range map[client.LogsQuery]string{
		{}: "logs are those of a service or of a task: name one of the two", {Service: "x"}: "no service named x: `piswarm ls` lists them",
		{Service: "web", Task: "web.1"}: "logs are those of a service or of a task: name one of the two",
		{Task: "x"}:                     "no task x: `piswarm ps` lists them", {Task: "t4"}: "web.4 is on no node yet: no node has room",
	} {
		if _, err := sh.client.Logs(t.Context(), q); err == nil || err.Error() != want {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// TestLogsFollowTheService to tasks that come later, on whichever node, and to its end.
func TestLogsFollowTheService(t *testing.T) {
	sh := newShelf(t)
	sh.two.write("t2", "old", "before")
	l, err := sh.client.Logs(t.Context(), client.LogsQuery{Task: "web.2", Follow: true, Tail: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got := words(t, l, 1); got != "pi2:before" {
		t.Fatal(got)
	}
	sh.two.write("t2", "live")
	if got := words(t, l, 1); got != "pi2:live" {
		t.Fatal(got)
	}
	// Its container is made anew, on the same node: none of what that writes is passed over.
	sh.two.remove("t2")
	sh.two.write("t2", "again", "and again")
	if got := words(t, l, 2); got != "pi2:again pi2:and again" {
		t.Fatal(got)
	}
	// It is replaced by one on pi1. What it writes before anyone can have heard of it is read too.
	sh.one.write("t9", "first", "second")
	sh.two.remove("t2")
	for _, n := range sh.nodes {
		put(t, n.Store, cluster.PlanKey("web"), cluster.Plan{ServiceID: "s1", Tasks: []cluster.Task{{ID: "t9", Slot: 2, Node: "aaaa1111"}}})
		put(t, n.Store, cluster.ReportKey("aaaa2222"), cluster.Report{})
	}
	if got := words(t, l, 2); got != "pi1:first pi1:second" {
		t.Fatal(got)
	}
	for _, n := range sh.nodes {
		for _, key := range []string{cluster.ServiceKey("web"), cluster.PlanKey("web")} {
			if _, _, err := n.Store.Delete(key); err != nil {
				t.Fatal(err)
			}
		}
		put(t, n.Store, cluster.ReportKey("aaaa1111"), cluster.Report{})
	}
	sh.one.remove("t9")
	if got := words(t, l, 1); got != "END" {
		t.Errorf("the service is gone, and its output goes on with %s", got)
	}
}

// TestEventsTellWhatHappened, to whoever listens.
func TestEventsTellWhatHappened(t *testing.T) {
	sh := newShelf(t)
	events, err := sh.client.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	store := sh.nodes[0].Store
	s, _ := sh.nodes[0].View().Service("web")
	next := func(n int) string {
		var got []string
		for range n {
			e, err := events.Next()
			if err != nil {
				t.Fatal(err)
			}
			if e.Time.IsZero() && e.Action != "" {
				t.Errorf("%+v has no time", e)
			}
			got = append(got, strings.TrimSpace(strings.Join([]string{e.Kind, e.Action, e.Name, e.Node, e.Text}, " ")))
		}
		return strings.Join(got, "; ")
	}
	for _, step := range []struct {
		key   string
		value any
		want  []string
	}{
		{cluster.ServiceKey("web"), s.Scaled(5, s.UpdatedAt), []string{"service scaled web  5"}},
		{cluster.PlanKey("lone"), cluster.Plan{ServiceID: "s2"}, []string{"plan"}},
		{cluster.ReportKey("aaaa1111"), cluster.Report{Tasks: []cluster.TaskStatus{
			{ID: "t1", Service: "web", ServiceID: "s1", Slot: 1, State: cluster.Failed, Error: "ended\nbadly"}}}, []string{"task failed web.1 pi1 ended badly"}},
		{cluster.ReportKey("aaaa1111"), cluster.Report{Warnings: []string{"hot"}, Tasks: []cluster.TaskStatus{
			{ID: "t1", Service: "web", ServiceID: "s1", Slot: 1, State: cluster.Failed, Error: "ended\nbadly"}}}, []string{"report"}},
		{cluster.NodeKey("aaaa2222"), cluster.Settings{Availability: cluster.Drain, Labels: map[string]string{"a": "b"}}, []string{"node drain pi2", "node labels pi2"}},
		{cluster.SecretKey("db"), cluster.Secret{Head: cluster.Head{ID: "x1", Name: "db"}}, []string{"secret created db"}},
	} {
		put(t, store, step.key, step.value)
		if got, want := next(len(step.want)), strings.Join(step.want, "; "); got != want {
			t.Errorf("%s: %s\nwant %s", step.key, got, want)
		}
	}
	if _, _, err := store.Delete(cluster.ServiceKey("web")); err != nil {
		t.Fatal(err)
	}
	if got := next(1); got != "service removed web" {
		t.Error(got)
	}
}

// FuzzReadExecSpec: whatever comes as a first frame is a command that may be run, or an error.
func FuzzReadExecSpec(f *testing.F) {
	for _, spec := range []string{`{"args":["sh"]}`, `{"args":[]}`, `{"args":["a\u0000"]}`, `{"x":1}`, `{"args":["a"],"env":["=b"],"dir":"x"}`} {
		var b strings.Builder
		if err := client.WriteFrame(&b, client.FrameSpec, []byte(spec)); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(b.String()))
	}
	f.Add([]byte("i\x00\x00\x00\x01a"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		spec, err := readExecSpec(client.NewFrameReader(bytes.NewReader(raw)))
		if err == nil && (len(spec.Args) == 0 || strings.ContainsRune(strings.Join(spec.Args, ""), 0)) {
			t.Errorf("takes %+v", spec)
		}
	})
}

// FuzzReadNodeLine: a line of another node is read or refused.
func FuzzReadNodeLine(f *testing.F) {
	f.Add([]byte(`{"node":"pi1","service":"web","slot":1,"task":"t","time":"2026-01-02T03:04:05Z","text":"a","at":"1:2"}`))
	f.Add([]byte(`{"slot":"x"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if l, err := readNodeLine(raw); err != nil && l.At != "" && l.Text != "" && l.Time.IsZero() {
			t.Logf("refused: %v", err)
		}
	})
}
