package cli

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/term"
	"golang.org/x/sys/unix"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// terminal is a real one, the kernel's, with what came out of it.
type terminal struct {
	tty  *os.File
	mu   sync.Mutex
	text bytes.Buffer
	done chan struct{}
}

func openTerminal(t *testing.T, width, height int) *terminal {
	t.Helper()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatalf("no terminals here: %v", err)
	}
	if err := unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := term.SetWinsize(tty.Fd(), &term.Winsize{Width: uint16(width), Height: uint16(height)}); err != nil {
		t.Fatal(err)
	}
	tt := &terminal{tty: tty, done: make(chan struct{})}
	go func() {
		defer close(tt.done)
		defer ptmx.Close()
		buf := make([]byte, 4096)
		for {
			n, err := ptmx.Read(buf)
			tt.mu.Lock()
			tt.text.Write(buf[:n])
			tt.mu.Unlock()
			if err != nil {
				return // the last writer has closed it
			}
		}
	}()
	return tt
}

// output ends the terminal and returns all that was written to it.
func (tt *terminal) output() string {
	tt.tty.Close()
	<-tt.done
	tt.mu.Lock()
	defer tt.mu.Unlock()
	return tt.text.String()
}

// picture is what a person sees after the text: the sequences that package cli writes are carried out, any other is an
// error. It fails on a line as wide as the terminal, because some terminals wrap it.
func picture(t *testing.T, text string, width int) string {
	t.Helper()
	lines := [][]rune{nil}
	row, column := 0, 0
	for i := 0; i < len(text); {
		switch rest := text[i:]; {
		case rest[0] == '\r':
			column = 0
			i++
		case rest[0] == '\n':
			row++
			if row == len(lines) {
				lines = append(lines, nil)
			}
			i++
		case strings.HasPrefix(rest, "\x1b[K"):
			lines[row] = lines[row][:min(column, len(lines[row]))]
			i += 3
		case strings.HasPrefix(rest, "\x1b[J"):
			lines[row] = lines[row][:min(column, len(lines[row]))]
			lines = lines[:row+1]
			i += 3
		case rest[0] == '\x1b':
			var up int
			if _, err := fmt.Sscanf(rest, "\x1b[%dA", &up); err != nil || up > row {
				t.Fatalf("sequence %q in row %d", rest[:min(8, len(rest))], row)
			}
			row -= up
			i += strings.IndexByte(rest, 'A') + 1
		default:
			r := []rune(rest[:min(4, len(rest))])[0]
			for len(lines[row]) <= column {
				lines[row] = append(lines[row], ' ')
			}
			lines[row][column] = r
			column++
			if column >= width {
				t.Fatalf("line %q fills the terminal", string(lines[row]))
			}
			i += len(string(r))
		}
	}
	var all []string
	for _, line := range lines {
		all = append(all, strings.TrimRight(string(line), " "))
	}
	return strings.TrimRight(strings.Join(all, "\n"), "\n") + "\n"
}

// runOnTerminal runs a command whose stdout is a terminal of that size.
func runOnTerminal(t *testing.T, f *fakeAgent, width, height int, args ...string) (string, result) {
	t.Helper()
	tt := openTerminal(t, width, height)
	var stderr bytes.Buffer
	a := newApp(strings.NewReader(""), tt.tty, &stderr)
	a.pace = testPace
	code := a.execute(t.Context(), append([]string{"-H", f.host}, args...))
	return tt.output(), result{"", stderr.String(), code}
}

func TestBarsOnATerminal(t *testing.T) {
	f := newFakeAgent(t)
	f.script(t, 3,
		[]client.Task{greeter(1, "pi1", cluster.Preparing, ""), greeter(2, "", cluster.Pending, "no node fits yet, for a reason that is far too long to be shown in one row of this terminal"), greeter(3, "pi3", cluster.Starting, "")},
		[]client.Task{greeter(1, "pi1", cluster.Running, ""), greeter(2, "pi2", cluster.Starting, ""), greeter(3, "pi3", cluster.Running, "")},
		[]client.Task{greeter(1, "pi1", cluster.Running, ""), greeter(2, "pi2", cluster.Running, ""), greeter(3, "pi3", cluster.Running, "")},
	)
	text, r := runOnTerminal(t, f, 70, 24, "create", "--name", "greeters", "--replicas", "3", "greeter")
	if r.code != 0 || r.stderr != "" {
		t.Errorf("got %+v", r)
	}
	want := `svc1id
overall progress: 3 out of 3 tasks
1/3: running   [=============================>] pi1
2/3: running   [=============================>] pi2
3/3: running   [=============================>] pi3
greeters: 3/3 running
`
	if got := picture(t, text, 70); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, seen := range []string{
		"1/3: preparing [=========>                    ] pi1",
		"2/3: pending   [                              ] no node fits yet, fo…",
		"3/3: starting  [===================>          ] pi3",
		"verify: all tasks run, watching for a moment that they stay up",
	} {
		if !strings.Contains(text, seen) {
			t.Errorf("%q was never shown in\n%q", seen, text)
		}
	}
}

// TestBarsThatFitNoTerminal holds that the drawing is never higher than the terminal: what scrolled away could not be
// redrawn.
func TestBarsThatFitNoTerminal(t *testing.T) {
	v := view{service: "greeters", mode: cluster.Replicated, want: 40}
	for i := 1; i <= 40; i++ {
		state := cluster.Running
		if i == 40 {
			state = cluster.Starting
		}
		v.tasks = append(v.tasks, greeter(i, "pi1", state, ""))
	}
	for _, height := range []int{5, 10, 24, 100} {
		lines := barLines(v, settling, height)
		if len(lines) >= height || len(lines) > maxBars+3 {
			t.Errorf("height %d: %d lines", height, len(lines))
		}
		if !strings.HasPrefix(lines[1], "40/40: starting") {
			t.Errorf("height %d: what one waits for is not in sight: %q", height, lines[1])
		}
	}
	want := "… and 34 more"
	if lines := barLines(v, undecided, 10); lines[len(lines)-1] != want {
		t.Errorf("got %q, want %q", lines, want)
	}
}

func TestScreenShrinks(t *testing.T) {
	var out bytes.Buffer
	s := &screen{w: &out, size: func() (int, int) { return 20, 10 }}
	s.draw([]string{"one", "two", "a line that is too long", "four"})
	if got, want := picture(t, out.String(), 20), "one\ntwo\na line that is too…\nfour\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	s.draw([]string{"1"})
	s.draw([]string{"2"})
	if got := picture(t, out.String(), 20); got != "2\n" {
		t.Errorf("after a shorter drawing: got\n%s", got)
	}
	s.draw(nil)
	if got := picture(t, out.String(), 20); got != "\n" {
		t.Errorf("after an empty drawing: got\n%s", got)
	}
}

func TestStuckOnATerminal(t *testing.T) {
	f := newFakeAgent(t)
	f.script(t, 1, []client.Task{greeter(1, "", cluster.Pending, "no node fits")})
	text, r := runOnTerminal(t, f, 80, 24, "create", "--name", "greeters", "greeter")
	if r.code != 2 || r.stderr != "piswarm: greeters: 0/1 running; greeters.1 pending: no node fits\n" {
		t.Errorf("got %+v", r)
	}
	if got := picture(t, text, 80); !strings.Contains(got, "1/1: pending   [                              ] no node fits\n") {
		t.Errorf("got\n%s", got)
	}
}

func TestImageLoadOnATerminal(t *testing.T) {
	f := newFakeAgent(t)
	f.progress = []client.Progress{
		{Message: "unpack", Current: 500_000, Total: 1_000_000},
		{Images: []cluster.Image{{Name: "docker.io/library/greeter:latest"}}, Done: true},
	}
	text, r := runOnTerminal(t, f, 80, 24, "image", "load", "-i", "fake_agent_test.go")
	if r.code != 0 || picture(t, text, 80) != "Loaded image: greeter:latest\n" {
		t.Errorf("got %+v\n%s", r, picture(t, text, 80))
	}
	for _, seen := range []string{"sending ", "unpack 500kB of 1MB"} {
		if !strings.Contains(text, seen) {
			t.Errorf("%q was never shown in\n%q", seen, text)
		}
	}
}

func TestImageLoadFromAKeyboard(t *testing.T) {
	tt := openTerminal(t, 80, 24)
	defer tt.output()
	var stderr bytes.Buffer
	a := newApp(tt.tty, &stderr, &stderr)
	ended := make(chan int)
	go func() { ended <- a.execute(t.Context(), []string{"image", "load"}) }()
	select {
	case code := <-ended:
		if code != 1 || stderr.String() != "piswarm: load needs a tar file: -i FILE, or one on standard input; see piswarm image load --help\n" {
			t.Errorf("got %d %q", code, stderr.String())
		}
	case <-time.After(10 * time.Second):
		t.Fatal("load waits for a person to type a tar file")
	}
}

// TestExecTellsOfTheTerminal: its size, at first and when that changes. Meanwhile it is the command's, and afterwards as before.
func TestExecTellsOfTheTerminal(t *testing.T) {
	f := reachable(t)
	tt := openTerminal(t, 70, 20)
	before, err := unix.IoctlGetTermios(int(tt.tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	a := newApp(tt.tty, &out, &errs)
	ended := make(chan int, 1)
	go func() { ended <- a.execute(t.Context(), []string{"--host", f.host, "exec", "-it", "greeters.1", "sh"}) }()
	raw := func() bool {
		now, err := unix.IoctlGetTermios(int(tt.tty.Fd()), unix.TCGETS)
		return err == nil && now.Lflag&unix.ICANON == 0
	}
	for deadline := time.Now().Add(10 * time.Second); !raw(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the terminal is not the command's")
		}
	}
	if got := f.last(); !strings.Contains(got, `"tty":true`) || !strings.Contains(got, `"size":{"height":20,"width":70}`) {
		t.Errorf("%s", got)
	}
	if err := term.SetWinsize(tt.tty.Fd(), &term.Winsize{Width: 50, Height: 10}); err != nil {
		t.Fatal(err)
	}
	// The signal may come before anybody waits for it.
	for code := -1; code < 0; {
		if err := unix.Kill(unix.Getpid(), unix.SIGWINCH); err != nil {
			t.Fatal(err)
		}
		select {
		case code = <-ended:
			if code != 5 {
				t.Errorf("exit %d: %s", code, errs.String())
			}
		case <-time.After(20 * time.Millisecond):
		}
	}
	if !strings.Contains(out.String(), `resized {"height":10,"width":50}`) {
		t.Errorf("%q", out.String())
	}
	if after, err := unix.IoctlGetTermios(int(tt.tty.Fd()), unix.TCGETS); err != nil || *after != *before {
		t.Errorf("the terminal is left as %+v, %v", after, err)
	}
}
