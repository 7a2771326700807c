package upgrade

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// script is a program that says that it is that version of piswarm.
func script(version string) []byte {
	return []byte("#!/bin/sh\necho '{\"client\":{\"version\":\"" + version + "\"}}'\n")
}

func fileOf(raw []byte) client.UpgradeFile {
	sum := sha256.Sum256(raw)
	return client.UpgradeFile{Kind: client.UpgradeProgram, SHA256: hex.EncodeToString(sum[:]), Size: int64(len(raw))}
}

// TestTakeRefuses: what is not whole, not what was meant, or not for this machine changes nothing.
func TestTakeRefuses(t *testing.T) {
	raw := script("2")
	whole := fileOf(raw)
	for name, c := range map[string]struct {
		change func(*client.UpgradeFile)
		body   []byte
		want   string
	}{
		"cut short":       {func(*client.UpgradeFile) {}, raw[:len(raw)-1], "not what was sent"},
		"too long":        {func(*client.UpgradeFile) {}, append(bytes.Clone(raw), '\n'), "not what was sent"},
		"another":         {func(*client.UpgradeFile) {}, bytes.Replace(raw, []byte("2"), []byte("3"), 1), "not what was sent"},
		"larger than all": {func(f *client.UpgradeFile) { f.Size = 1 << 60 }, raw, "are needed"},
		"a package":       {func(f *client.UpgradeFile) { f.Kind = client.UpgradePackage }, raw, "not installed as a Debian package"},
	} {
		t.Run(name, func(t *testing.T) {
			target := newTarget(t)
			file := whole
			c.change(&file)
			err := target.Take(t.Context(), file, bytes.NewReader(c.body), nil)
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			left, err := os.ReadDir(string(target.Dir))
			if err != nil || len(left) != 1 || left[0].Name() != lockFile {
				t.Errorf("left: %v, %v", left, err)
			}
			if got, _ := os.ReadFile(target.Program); string(got) != "old" {
				t.Errorf("the program is %q", got)
			}
		})
	}
}

// TestTakeOne: while one is under way, no other is taken.
func TestTakeOne(t *testing.T) {
	target := newTarget(t)
	raw := script("2")
	if err := os.MkdirAll(string(target.Dir), 0o700); err != nil {
		t.Fatal(err)
	}
	unlock, ok, err := target.Dir.lock()
	if err != nil || !ok {
		t.Fatal(err)
	}
	if err := target.Take(t.Context(), fileOf(raw), bytes.NewReader(raw), nil); !errors.Is(err, ErrRefused) {
		t.Errorf("beside a keeper: %v", err)
	}
	unlock()
	if err := target.Dir.write(orderFile, order{From: "1"}); err != nil {
		t.Fatal(err)
	}
	if err := target.Take(t.Context(), fileOf(raw), bytes.NewReader(raw), nil); !errors.Is(err, ErrRefused) {
		t.Errorf("with an order that is to be carried out: %v", err)
	}
}

func newTarget(t *testing.T) Target {
	dir := t.TempDir()
	program := filepath.Join(dir, "piswarm")
	if err := os.WriteFile(program, []byte("old"), 0o755); err != nil {
		t.Fatal(err)
	}
	return Target{Dir: Dir(filepath.Join(dir, "upgrade")), Program: program, Version: "1"}
}

// machine is a keeper's world: an agent that is started again with whatever program is there.
type machine struct {
	t      *testing.T
	keeper Keeper
	order  order
	sick   string // a version whose agent never says that the node is ready
	dead   string // one whose agent does not answer
	life   func()
	pid    int
}

func newMachine(t *testing.T, offer []byte) *machine {
	t.Helper()
	target := newTarget(t)
	m := &machine{t: t, keeper: Keeper{
		Dir: target.Dir, Socket: filepath.Join(t.TempDir(), "s"), Log: slog.New(slog.DiscardHandler),
		limits: limits{answer: time.Second, health: 2 * time.Second, steady: 50 * time.Millisecond, look: 10 * time.Millisecond, restart: time.Second},
	}}
	m.order = order{Kind: client.UpgradeProgram, SHA256: fileOf(offer).SHA256, Program: target.Program, From: "1", Tasks: []string{"task1"}}
	m.put(target.Program, script("1"))
	if err := os.MkdirAll(string(target.Dir), 0o700); err != nil {
		t.Fatal(err)
	}
	m.put(target.Dir.path(keeper), script("1"))
	m.put(target.Dir.path(offered), offer)
	if err := target.Dir.write(orderFile, m.order); err != nil {
		t.Fatal(err)
	}
	m.keeper.agent = m
	m.start()
	t.Cleanup(func() { m.life() })
	return m
}

func (m *machine) put(path string, raw []byte) {
	m.t.Helper()
	if err := os.WriteFile(path, raw, 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// start starts the agent anew, as who looks after it does.
func (m *machine) start() error {
	m.pid++
	if m.life != nil {
		m.life()
	}
	m.life = func() {}
	raw, err := os.ReadFile(m.order.Program)
	if err != nil {
		return err
	}
	version := strings.Split(string(raw), `"`)[5]
	if version == m.dead {
		return nil
	}
	listener, err := net.Listen("unix", m.keeper.Socket)
	if err != nil {
		return err
	}
	state := cluster.Ready
	if version == m.sick {
		state = cluster.Down
	}
	answer := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(v) }
	}
	mux := http.NewServeMux()
	mux.Handle("/v1/version", answer(client.Version{Version: version, NodeID: "n1", ClusterID: "c1"}))
	mux.Handle("/v1/nodes/n1", answer(client.Node{NodeStatus: client.NodeStatus{ID: "n1", Name: "pi1", State: state}}))
	mux.Handle("/v1/tasks", answer([]client.Task{{ID: "task1", Node: "pi1", Desired: cluster.Running, State: cluster.Running}}))
	server := &http.Server{Handler: mux}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	m.life = func() { _ = server.Close(); <-done }
	return nil
}

// process and restart are those of the agent.
func (m *machine) process() (int, error) {
	conn, err := net.Dial("unix", m.keeper.Socket)
	if err != nil {
		return 0, errors.Join(err, m.start()) // who looks after it tries again and again
	}
	return m.pid, conn.Close()
}

func (m *machine) restart(_ context.Context, pid int, _, _ time.Duration) error {
	if pid != m.pid {
		m.t.Errorf("process %d is told to end, and %d is the agent", pid, m.pid)
	}
	return m.start()
}

func TestKeeper(t *testing.T) {
	for name, c := range map[string]struct {
		offer      []byte
		sick, dead string
		version    string // in the end
		state      client.UpgradeProgress
		why        string
	}{
		"good":         {offer: script("2"), version: "2", state: client.UpgradeDone},
		"no program":   {offer: []byte("#!/bin/sh\nexit 126\n"), version: "1", state: client.UpgradeFailed, why: "does not run on this machine"},
		"not piswarm":  {offer: []byte("#!/bin/sh\necho hello\n"), version: "1", state: client.UpgradeFailed, why: "does not say which version"},
		"never ready":  {offer: script("2"), sick: "2", version: "1", state: client.UpgradeFailed, why: "the node is down"},
		"never there":  {offer: script("2"), dead: "2", version: "1", state: client.UpgradeFailed, why: "does not answer"},
		"same version": {offer: append(script("1"), '\n'), version: "1", state: client.UpgradeDone},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, c.offer)
			m.sick, m.dead = c.sick, c.dead
			if err := m.keeper.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			end, err := m.keeper.Dir.state()
			if err != nil || end.State != c.state || end.Version != c.version || !strings.Contains(end.Error, c.why) {
				t.Errorf("%+v, %v; want %s at %s because %q", end, err, c.state, c.version, c.why)
			}
			if strings.Contains(end.Error, "not well either") {
				t.Errorf("back, it is %s", end.Error)
			}
			want := script("1")
			if c.state == client.UpgradeDone {
				want = c.offer
			}
			if got, _ := os.ReadFile(m.order.Program); !bytes.Equal(got, want) {
				t.Errorf("the program is %q, want %q", got, want)
			}
			if _, due, err := m.keeper.Dir.ordered(); due || err != nil {
				t.Errorf("there is an order still: %v", err)
			}
		})
	}
}

// TestKeeperAgain: whatever was done when the power went, the next keeper comes to the same end.
func TestKeeperAgain(t *testing.T) {
	for name, done := range map[string]func(m *machine){
		"nothing":         func(*machine) {},
		"unpacked":        func(m *machine) { m.put(m.keeper.Dir.path(candidate), []byte("half")) },
		"exchanged":       func(m *machine) { m.put(m.order.Program, script("2")); m.start() },
		"told of the end": func(m *machine) { m.put(m.order.Program, script("2")); m.start(); m.keeper.tell("done", m.order) },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, script("2"))
			done(m)
			if err := m.keeper.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			if end, err := m.keeper.Dir.state(); err != nil || end.State != client.UpgradeDone || end.Version != "2" {
				t.Errorf("%+v, %v", end, err)
			}
		})
	}
	t.Run("damaged, and exchanged", func(t *testing.T) {
		m := newMachine(t, script("2"))
		m.put(m.order.Program, script("2"))
		m.start()
		m.put(m.keeper.Dir.path(offered), []byte("bits fell over"))
		if err := m.keeper.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		end, _ := m.keeper.Dir.state()
		if got, _ := os.ReadFile(m.order.Program); end.State != client.UpgradeFailed || !strings.Contains(end.Error, "damaged") || !bytes.Equal(got, script("1")) {
			t.Errorf("%+v, with %q", end, got)
		}
	})
}

// TestControl: the head of a package that is made anew is that of the old one.
func TestControl(t *testing.T) {
	in := "Package: piswarm\nStatus: install ok installed\nVersion: 1.2\nConffiles:\n /etc/piswarm/piswarm.toml 0123\nDescription: shelf\n of Pis\n"
	want := "Package: piswarm\nVersion: 1.2\nDescription: shelf\n of Pis\n"
	if got := control(in); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
