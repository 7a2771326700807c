package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/moby/term"
)

const (
	// sshConnectLimit bounds the way to a host, in which the person may have to look for a password.
	sshConnectLimit = 3 * time.Minute
	sshEndLimit     = 5 * time.Second // for ssh to end by itself

	maxRemoteOutput = 64 << 10 // of a command, in bytes; the rest is dropped
	maxRemoteErrors = 4 << 10  // the end of what it says on stderr
)

// sshHost is a connection to a host by the system's ssh, with the keys, the agent, the known hosts and the
// configuration of the person who runs this: whom to trust is decided there and nowhere else.
//
// One connection carries all commands, so that a password is asked for once. Its end is tied to this process: when that
// is gone, however it went, ssh's standard input ends, and so does the connection.
type sshHost struct {
	name  string // [USER@]HOST as the person wrote it
	dir   string // of the connection's socket, for this user alone
	input io.Closer
	kill  func() error

	mu      sync.Mutex
	closed  bool
	closing chan struct{} // closed with it, for the streams to end
	streams sync.WaitGroup
	ended   chan error // tells once
}

// checkSSHHost refuses what ssh would take for something else than a host.
func checkSSHHost(name string) error {
	if name == "" || strings.HasPrefix(name, "-") || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return fmt.Errorf("%q is no host: want [USER@]HOST, for example pi@192.168.1.23", name)
	}
	return nil
}

// dialSSH connects. Where a terminal is, ssh asks there for passwords, and whether a host is known.
func dialSSH(ctx context.Context, name string, stderr io.Writer) (_ *sshHost, err error) {
	if _, err := exec.LookPath("ssh"); err != nil {
		return nil, errors.New("this needs the program ssh, which is not here: sudo apt-get install openssh-client")
	}
	dir, err := os.MkdirTemp("", "piswarm-ssh-") // 0700
	if err != nil {
		return nil, err
	}
	h := &sshHost{name: name, dir: dir, ended: make(chan error, 1), closing: make(chan struct{})}
	ctx, cancel := context.WithTimeout(ctx, sshConnectLimit)
	defer cancel()
	const ready = "piswarm-is-here"
	// Not for ctx to end: the connection outlives the wait for it.
	cmd := exec.Command("ssh", h.args("yes", "echo "+ready+"; exec cat >/dev/null")...)
	said := &tail{limit: maxRemoteErrors}
	cmd.Stderr = said
	if f, ok := stderr.(*os.File); ok && term.IsTerminal(f.Fd()) {
		cmd.Stderr = io.MultiWriter(f, said)
	}
	// What other than ssh holds its ends of the pipes must not keep this waiting.
	cmd.WaitDelay = sshEndLimit
	output, answer := io.Pipe()
	cmd.Stdout = answer
	input, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("run ssh: %w", err), os.RemoveAll(dir))
	}
	h.input, h.kill = input, cmd.Process.Kill
	go func() {
		err := cmd.Wait()
		answer.Close()
		h.ended <- err
	}()
	up := make(chan bool, 2)
	go func() {
		lines := bufio.NewScanner(io.LimitReader(output, maxRemoteOutput)) // a login may greet first
		for lines.Scan() {
			if strings.TrimSpace(lines.Text()) == ready {
				up <- true
				break
			}
		}
		up <- false
		_, _ = io.Copy(io.Discard, output) // until ssh ends
	}()
	select {
	case <-ctx.Done():
		err = ctx.Err()
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%s: ssh was not let in within %s", name, sshConnectLimit)
		}
		_ = h.kill() // it may ask for a password just now
	case ok := <-up:
		if ok {
			return h, nil
		}
		if err := h.close(); err != nil { // with it come ssh's last words
			return nil, err
		}
		return nil, fmt.Errorf("%s: %s", name, sshTrouble(name, said.String()))
	}
	return nil, errors.Join(err, h.close())
}

// args are those of ssh for a command on the host. The person's configuration counts, but for what would make this
// something else than one connection that carries commands and nothing more.
func (h *sshHost) args(master, command string) []string {
	args := []string{"-T", "-a", "-x", "-S", filepath.Join(h.dir, "s")}
	for _, option := range []string{
		"ControlMaster=" + master, "ControlPersist=no", "ClearAllForwardings=yes", "RemoteCommand=none", "PermitLocalCommand=no",
		"ConnectTimeout=15", "ServerAliveInterval=5", "ServerAliveCountMax=6",
	} {
		args = append(args, "-o", option)
	}
	return append(args, "--", h.name, command)
}

// close ends the connection and all that goes over it.
func (h *sshHost) close() error {
	h.mu.Lock()
	h.closed = true
	close(h.closing)
	h.mu.Unlock()
	h.streams.Wait()
	h.input.Close() // an ssh that has ended has closed it: then there is nothing to say
	select {
	case <-h.ended: // how it ended no longer matters
	case <-time.After(sshEndLimit):
		_ = h.kill()
		<-h.ended
	}
	return os.RemoveAll(h.dir)
}

// remoteError is a command that ran on the host and failed.
type remoteError struct{ said string }

func (e *remoteError) Error() string { return e.said }

// run runs a command for the host's shell, whichever that is, and returns what it printed. Where it fails, the
// error is the last line that it said.
func (h *sshHost) run(ctx context.Context, limit time.Duration, command string, stdin io.Reader) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	out, said := &head{limit: maxRemoteOutput}, &tail{limit: maxRemoteErrors}
	cmd := exec.CommandContext(ctx, "ssh", h.args("no", command)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, out, said
	cmd.WaitDelay = sshEndLimit
	err := cmd.Run()
	switch {
	case err == nil:
		return out.String(), nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "", fmt.Errorf("no answer within %s", limit)
	case ctx.Err() != nil:
		return "", ctx.Err()
	}
	last := lastLine(said.String())
	if last == "" {
		last = err.Error()
	}
	return "", &remoteError{strings.TrimPrefix(last, "piswarm: ")}
}

// script runs a script for the POSIX shell, whatever the login shell is: no quote has to hold.
func (h *sshHost) script(ctx context.Context, limit time.Duration, script string) (string, error) {
	return h.run(ctx, limit, "sh -s", strings.NewReader(script))
}

// sshTrouble says in one line why ssh did not come through, and what to do.
func sshTrouble(name, said string) string {
	last := strings.TrimSuffix(lastLine(said), ".")
	switch {
	case last == "":
		return fmt.Sprintf("ssh ended and said nothing: does `ssh %s` work?", name)
	case strings.Contains(said, "REMOTE HOST IDENTIFICATION HAS CHANGED"):
		return fmt.Sprintf("it has another host key than it had: if its card was written anew, remove the old key (ssh-keygen -R HOST); see `ssh %s`", name)
	case strings.Contains(last, "Host key verification failed"):
		return fmt.Sprintf("its host key is not known here: run `ssh %s` once and compare the key", name)
	case strings.Contains(last, "Permission denied"):
		return fmt.Sprintf("ssh was not let in (%s): `ssh %s` must work first", strings.TrimPrefix(last, name+": "), name)
	}
	return strings.TrimPrefix(last, "ssh: ")
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return oneLine(lines[len(lines)-1])
}

// head keeps the beginning of what is written, tail the end.
type head struct {
	bytes.Buffer
	limit int
}

func (b *head) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), b.limit-b.Len())])
	return len(p), nil
}

type tail struct {
	limit int

	mu   sync.Mutex
	text []byte
}

func (b *tail) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	if over := len(b.text) - b.limit; over > 0 {
		b.text = append(b.text[:0], b.text[over:]...)
	}
	return len(p), nil
}

func (b *tail) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}
