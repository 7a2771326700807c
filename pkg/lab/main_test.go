package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain also is what the labs of these tests run: their binary is the test itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "lab" {
		switch os.Args[2] {
		case "init":
			InitMain()
		case "sweep":
			if err := SweepMain(os.Args[3]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		case "own":
			ownLab(os.Args[3])
		}
	}
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "stand-in-agent":
			standInAgent()
		case "stand-in-listener":
			standInListener()
		}
	}
	os.Exit(m.Run())
}

// standInAgent answers on the agent's socket and, with its host's name, on the LAN.
func standInAgent() {
	if err := os.MkdirAll(filepath.Dir(agentSocket), 0o755); err != nil {
		panic(err)
	}
	if err := os.Remove(agentSocket); err != nil && !errors.Is(err, os.ErrNotExist) {
		panic(err)
	}
	lan, err := net.Listen("tcp", ":"+standInPort)
	if err != nil {
		panic(err)
	}
	go http.Serve(lan, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		name, _ := os.Hostname()
		io.WriteString(w, name)
	}))
	listener, err := net.Listen("unix", agentSocket)
	if err != nil {
		panic(err)
	}
	panic(http.Serve(listener, http.NotFoundHandler()))
}

// testOptions are those of a lab of this test binary.
func testOptions(t *testing.T, nodes int) Options {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("needs root")
	}
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Options{
		Nodes:  nodes,
		Binary: binary,
		Dir:    t.TempDir(),
		Log:    func(line string) { t.Log(line) },
		agent:  []string{hostBinary, "stand-in-agent"},
	}
}

// startLab starts a lab and ends it with the test.
func startLab(t *testing.T, nodes int) *Lab {
	t.Helper()
	l, err := Start(t.Context(), testOptions(t, nodes))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// run runs a shell command on a host and returns what it wrote. It fails the test if the exit code is not the wanted.
func run(t *testing.T, l *Lab, host, command string, want int) string {
	t.Helper()
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	code, err := l.Exec(ctx, host, []string{"sh", "-c", command}, Stdio{Out: &out, Err: &out})
	if err != nil || code != want {
		t.Fatalf("%s: %s: exit code %d, error %v, want %d\n%s", host, command, code, err, want, out.String())
	}
	return strings.TrimSpace(out.String())
}

// eventually polls a condition of the real world.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}
