package dockerapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/api"
	"github.com/piswarm/piswarm/agent/internal/loop"
	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// The IDs of the rig are of the real length, so that what is cut and padded is seen.
const (
	piOne, piTwo = "aaaa111122223333", "bbbb111122223333"
	greetersID   = "gr33t3rsgr33t3rsgr33t3rsg"
	taskOne      = "t1t1t1t1t1t1t1t1t1t1t1t1t"
	taskTwo      = "t2t2t2t2t2t2t2t2t2t2t2t2t"
)

var (
	bytesOf = "sha256:" + strings.Repeat("a", 64)
)

// node1 is a node whose API and state are the real ones, and whose neighbours are not there.
type node1 struct {
	member *api.Member // nil: in no cluster
	store  *state.Store
	hub    loop.Hub
	mu     sync.Mutex
	calls  []string
	lines  map[string][]string
}

func (n *node1) Member() (*api.Member, error) {
	if n.member == nil {
		return nil, api.ErrNoCluster
	}
	return n.member, nil
}
func (n *node1) Version() client.Version {
	v := client.Version{Version: "1.2.3", Commit: "c0ffee", Go: "go1.26", OS: "linux", Arch: "arm64", Node: "pi1", NodeID: piOne, Address: "192.168.1.20"}
	if n.member != nil {
		v.ClusterID = "c1u573r"
	}
	return v
}

func (n *node1) called(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.calls = append(n.calls, fmt.Sprintf(format, args...))
}

func (n *node1) Init(_ context.Context, in client.Init) (string, error) {
	n.called("init %q %q", in.Name, in.Pool)
	return "PSWM-1-x-y", nil
}

func (n *node1) Join(_ context.Context, in client.Join) error {
	n.called("join %s %v", in.Token, in.Addresses)
	return nil
}

func (n *node1) Leave(context.Context) error {
	n.called("leave")
	return nil
}

func (n *node1) Load(_ context.Context, r io.Reader) ([]cluster.Image, error) {
	raw, err := io.ReadAll(r)
	if string(raw) == "bad" {
		return nil, errors.New("not an image archive")
	}
	return []cluster.Image{{Name: "docker.io/library/web:latest", Digest: bytesOf}}, err
}

func (n *node1) Pull(_ context.Context, ref string, progress func(done, total int64)) ([]cluster.Image, error) {
	if strings.Contains(ref, "nowhere") {
		return nil, errors.New("image nowhere: nobody has it")
	}
	progress(1, 2)
	return []cluster.Image{{Name: ref, Digest: bytesOf}}, nil
}

func (n *node1) Resolve(_ context.Context, ref string) (string, string, []cluster.Platform, error) {
	if strings.Contains(ref, "nowhere") {
		return "", "", nil, errors.New("image nowhere: nobody has it")
	}
	name, pin, err := splitDigest(ref)
	if pin == "" {
		pin = bytesOf
	}
	return name, pin, []cluster.Platform{{OS: "linux", Arch: "arm64"}}, err
}

func (n *node1) Tag(_ context.Context, name, target string) error {
	n.called("tag %s %s", name, target)
	return nil
}

func (n *node1) Remove(_ context.Context, ref string) error {
	n.called("remove %s", ref)
	return nil
}

func (n *node1) Lines(ctx context.Context, id string, q api.LinesQuery, each func(api.Line) error) error {
	lines, ok := n.lines[id]
	if !ok {
		return fs.ErrNotExist
	}
	for i, text := range lines {
		if err := each(api.Line{Text: text, Time: time.Unix(int64(i), 5e8).UTC(), At: fmt.Sprint(i)}); err != nil {
			return err
		}
	}
	if q.Follow {
		<-ctx.Done()
	}
	return nil
}

// Run is a program that repeats its input, tells of a resize, and ends as it is told.
func (n *node1) Run(ctx context.Context, id string, spec client.ExecSpec, streams api.ExecIO) (int, error) {
	n.called("run %s %q tty=%t %s %s %v", id, spec.Args, spec.TTY, spec.User, spec.Dir, spec.Env)
	if spec.Args[0] == "missing" {
		return 0, fmt.Errorf("%w: no such program", api.ErrRefused)
	}
	if err := streams.Started(); err != nil {
		return 0, err
	}
	fmt.Fprint(streams.Stdout, "out")
	if !spec.TTY {
		fmt.Fprint(streams.Stderr, "err")
	}
	if streams.Stdin != nil {
		if _, err := io.Copy(streams.Stdout, streams.Stdin); err != nil {
			return 0, err
		}
	}
	select {
	case size := <-streams.Resize:
		n.called("resize %d %d", size.Height, size.Width)
	default:
	}
	return 7, nil
}

func (n *node1) Stop(_ context.Context, id, signal string, grace time.Duration) error {
	n.called("stop %s %q %s", id, signal, grace)
	return nil
}

func (n *node1) Signal(_ context.Context, id, signal string) error {
	n.called("signal %s %q", id, signal)
	return nil
}

func (n *node1) Usage(string) (client.TaskStats, error) {
	return client.TaskStats{Time: time.Unix(100, 0).UTC(), CPUNanos: 5e9, MemoryBytes: 3 << 20, Pids: 4}, nil
}

func (n *node1) NodeUsage() client.NodeStats { return client.NodeStats{} }
func (n *node1) Metrics(io.Writer)           {}

// took returns what was asked of the node since.
func (n *node1) took() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := strings.Join(n.calls, "; ")
	n.calls = nil
	return all
}

func put(t testing.TB, s *state.Store, key string, value any) {
	t.Helper()
	raw, err := json.Marshal(value)
	if err == nil {
		_, err = s.Put(key, raw)
	}
	if err != nil {
		t.Fatal(err)
	}
}

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// greeters is a service with a bit of everything.
func greeters() cluster.Service {
	spec := cluster.Spec{
		Name: "greeters", Mode: cluster.Replicated, Replicas: 2, Labels: map[string]string{"tier": "front"},
		Container: cluster.Container{
			Image: "docker.io/library/greeter:latest", Digest: bytesOf, Env: []string{"A=B"}, Labels: map[string]string{"of": "container"},
			Platforms: []cluster.Platform{{OS: "linux", Arch: "arm64"}},
			Secrets:   []cluster.FileRef{{Name: "db", ID: "s3cr3ts3cr3ts3cr3ts3cr3ts"}}, Configs: []cluster.FileRef{{Name: "app", ID: "c0nf1gc0nf1gc0nf1gc0nf1gc"}},
			Mounts: []cluster.Mount{{Type: cluster.MountVolume, Source: "data", Target: "/data"}},
			Health: cluster.Health{HTTP: "/healthz", Port: 5000},
		},
		Ports:     []cluster.Port{{Published: 9000, Target: 5000, Protocol: cluster.TCP, Mode: cluster.PortIngress}},
		Networks:  []cluster.NetworkRef{{Name: "back", Aliases: []string{"web"}}},
		Placement: cluster.Placement{Constraints: []cluster.Constraint{{Attribute: "node.id", Not: true, Value: piTwo}}, Strategy: cluster.Binpack},
	}.WithDefaults()
	s := cluster.Service{ID: greetersID, Spec: spec, SpecVersion: 7, VirtualIP: netip.MustParseAddr("10.77.250.1"), CreatedAt: at, UpdatedAt: at}
	return s
}

// start makes a cluster of pi1 (this node, the leader) and pi2 with the service greeters, and docker's API of pi1.
func start(t testing.TB) (*node1, http.Handler) {
	t.Helper()
	store, err := state.New(piOne, state.Snapshot{})
	if err != nil {
		t.Fatal(err)
	}
	members := []cluster.Member{
		{ID: piOne, Name: "pi1", Address: netip.MustParseAddr("192.168.1.20"), Condition: cluster.Ready},
		{ID: piTwo, Name: "pi2", Address: netip.MustParseAddr("192.168.1.21"), Condition: cluster.Down},
	}
	n := &node1{store: store, lines: map[string][]string{taskOne: {"one", "two"}}}
	reader := view.NewReader(store, func() []cluster.Member { return members }, slog.New(slog.DiscardHandler))
	n.member = &api.Member{
		Store: store, View: reader.View, Members: n.hub.Subscribe, Images: n, Tasks: n, Token: func() string { return "PSWM-1-x-y" },
		Peer:    func(string) *http.Client { return http.DefaultClient },
		Waiting: func() []client.NodeStatus { return nil },
		Write:   func(context.Context, ...string) (int, int, error) { return 2, 2, nil },
		Seal:    func(_ string, plain []byte) ([]byte, error) { return append([]byte("sealed "), plain...), nil },
		Open:    func(_ string, sealed []byte) ([]byte, error) { return bytes.TrimPrefix(sealed, []byte("sealed ")), nil },
		Rotate: func(context.Context, func(string)) (client.Rotation, error) {
			n.called("rotate")
			return client.Rotation{Token: "PSWM-1-y-z"}, nil
		},
		Forget: func(id string) error { n.called("forget %s", id); return nil },
	}
	put(t, store, cluster.SettingsKey, cluster.ClusterSettings{Name: "home", Pool: cluster.DefaultPool})
	put(t, store, cluster.NodeKey(piOne), cluster.Settings{Name: "pi1", Availability: cluster.Active, Role: cluster.Manager, Labels: map[string]string{"room": "attic"}})
	put(t, store, cluster.NodeKey(piTwo), cluster.Settings{Name: "pi2", Availability: cluster.Active, Role: cluster.Worker})
	put(t, store, cluster.NetworkKey("back"), cluster.Network{ID: "n3tw0rkn3tw0rkn3tw0rkn3tw", Name: "back", CreatedAt: at})
	put(t, store, cluster.SecretKey("db"), cluster.Secret{Head: cluster.Head{ID: "s3cr3ts3cr3ts3cr3ts3cr3ts", Name: "db", CreatedAt: at}, Sealed: []byte("sealed hush")})
	put(t, store, cluster.ConfigKey("app"), cluster.Config{Head: cluster.Head{ID: "c0nf1gc0nf1gc0nf1gc0nf1gc", Name: "app", CreatedAt: at}, Data: []byte("on")})
	put(t, store, cluster.ServiceKey("greeters"), greeters())
	put(t, store, cluster.PlanKey("greeters"), cluster.Plan{ServiceID: greetersID, Tasks: []cluster.Task{
		{ID: taskOne, Slot: 1, Node: piOne, SpecVersion: 7}, {ID: taskTwo, Slot: 2, SpecVersion: 7, Reason: "no node has room"},
	}})
	task := cluster.TaskStatus{ID: taskOne, Service: "greeters", ServiceID: greetersID, Slot: 1, SpecVersion: 7, State: cluster.Running, Address: "10.77.3.2", Since: at.Add(time.Minute)}
	before := task
	before.State, before.Address, before.Since, before.Error, before.ExitCode = cluster.Failed, "", at.Add(30*time.Second), "ended with exit code 3", 3
	put(t, store, cluster.ReportKey(piOne), cluster.Report{
		Node: cluster.Description{
			Hostname: "pi1", Address: "192.168.1.20", Subnet: "10.77.3.0/24", Platform: cluster.Platform{OS: "linux", Arch: "arm64"},
			Capacity: cluster.Amount{MemoryBytes: 512 << 20, NanoCPUs: 4e9}, Model: "Raspberry Pi Zero 2 W", Kernel: "6.1.0", Version: "1.2.3", Runtime: "1.6.20", MemoryLimit: true,
		},
		Tasks: []cluster.TaskStatus{task}, History: []cluster.TaskStatus{before},
		Images: []cluster.Image{{Name: "docker.io/library/greeter:latest", Digest: bytesOf, SizeBytes: 3 << 20}}, Warnings: []string{"throttled"},
	})
	return n, New(client.InProcess(api.New(n, slog.New(slog.DiscardHandler)).Handler()))
}

// call asks the API, as a test's client does that has no connection.
func call(h http.Handler, method, path, body string) (int, string) {
	w := duplex{httptest.NewRecorder()}
	h.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w.Code, strings.TrimSpace(w.Body.String())
}

// duplex is a recorder that does not mind being written to while the body is read.
type duplex struct{ *httptest.ResponseRecorder }

func (duplex) EnableFullDuplex() error { return nil }

// version is the number that an update of the thing at path has to name.
func version(t *testing.T, h http.Handler, path string) uint64 {
	t.Helper()
	var thing struct{ Version struct{ Index uint64 } }
	status, answer := call(h, "GET", path, "")
	if err := json.Unmarshal([]byte(answer), &thing); err != nil || status != 200 {
		t.Fatalf("%s: %d %s", path, status, answer)
	}
	return thing.Version.Index
}
