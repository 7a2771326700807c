//go:build linux

package reaper

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain is the reaper where a test runs this program again as one.
func TestMain(m *testing.M) {
	if os.Getenv("PISWARM_REAPER") == "1" {
		os.Exit(Run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// reap runs a program below a reaper that is the first process of a namespace, as in a container.
func reap(t *testing.T, argv ...string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", argv...)
	cmd.Env = append(os.Environ(), "PISWARM_REAPER=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatalf("run in a namespace of processes (this test needs root): %v", err)
	}
	w.Close()
	t.Cleanup(func() { r.Close() })
	if err := r.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewReader(r)
}

func exitCode(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		argv []string
		code int
		says string
	}{
		{[]string{"true"}, 0, ""},
		{[]string{"sh", "-c", "echo $0 $PISWARM_REAPER; exit 7", "word"}, 7, "word 1\n"},
		{[]string{"sh", "-c", "kill -9 $$"}, 128 + 9, ""},
		{[]string{"/no/such"}, 127, "init: run /no/such:"},
		{[]string{"nosuchprogram"}, 127, "init: run nosuchprogram:"},
		{[]string{"/etc/passwd"}, 126, "init: run /etc/passwd:"},
		{nil, 127, "init: no program to run"},
	} {
		cmd, out := reap(t, test.argv...)
		text, err := io.ReadAll(out)
		if err != nil {
			t.Fatal(err)
		}
		if code := exitCode(t, cmd); code != test.code || !strings.HasPrefix(string(text), test.says) {
			t.Errorf("%v: exit code %d, %q, want %d, %q", test.argv, code, text, test.code, test.says)
		}
	}
}

func TestSignalsAreHandedOn(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGQUIT} {
		cmd, out := reap(t, "sh", "-c", `trap 'exit 42' TERM INT HUP USR1 QUIT; echo up; while :; do sleep 0.1; done`)
		if line, err := out.ReadString('\n'); err != nil || line != "up\n" {
			t.Fatalf("%q, %v", line, err)
		}
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
		if code := exitCode(t, cmd); code != 42 {
			t.Errorf("after %v: exit code %d, want the program's own", s, code)
		}
	}
}

// A process whose parent has gone is the reaper's. When it has ended there is nothing by its number, not even a zombie.
func TestOrphansAreReaped(t *testing.T) {
	cmd, out := reap(t, "sh", "-c", `p=$(sh -c 'sleep 0.2 >/dev/null 2>&1 & echo $!'); kill -0 $p || exit 8; sleep 1; kill -0 $p 2>/dev/null && exit 9; exit 0`)
	if text, err := io.ReadAll(out); err != nil || len(text) > 0 {
		t.Errorf("%q, %v", text, err)
	}
	if code := exitCode(t, cmd); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
