package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

const (
	sshScheme = "ssh://"
	// streamReady is the line with which a stream begins: what a login prints stands before it.
	streamReady = "piswarm-stream-1"
	streamLimit = 30 * time.Second // for a stream to begin
)

// connectSSH returns the client of the agent on another machine. ssh connects once, before anything is asked, so that no
// answer is waited for while the person types a password.
func (a *app) connectSSH(name string) (*client.Client, error) {
	name = strings.TrimSuffix(name, "/")
	if err := checkSSHHost(name); err != nil || strings.Contains(name, "/") {
		return nil, fmt.Errorf("host %q: want ssh://[USER@]HOST[:PORT], for example ssh://pi@pi1", a.host)
	}
	if strings.Contains(name, ":") {
		name = sshScheme + name // ssh's own form where there is a port
	}
	if a.ssh == nil {
		h, err := dialSSH(a.ctx, name, a.stderr)
		if err != nil {
			return nil, err
		}
		a.ssh = h
	}
	return client.Over(name, func(ctx context.Context) (net.Conn, error) { return a.ssh.stream(ctx, "piswarm dial-stdio") }), nil
}

// newDialStdioCommand is what connectSSH calls on the other machine.
func newDialStdioCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "dial-stdio",
		Short:             "Join standard input and output to the agent's socket",
		Hidden:            true,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			conn, err := c.Dial(cmd.Context())
			if err != nil {
				return err
			}
			defer conn.Close()
			defer context.AfterFunc(cmd.Context(), func() { conn.Close() })()
			if _, err := fmt.Fprintln(a.stdout, streamReady); err != nil {
				return err
			}
			// It ends with the program at the latest: a read of standard input cannot be called off.
			go func() {
				_, _ = io.Copy(conn, a.stdin)
				if half, ok := conn.(interface{ CloseWrite() error }); ok {
					_ = half.CloseWrite() // the agent sees that nothing more is asked
				}
			}()
			_, err = io.Copy(a.stdout, conn)
			return err
		},
		DisableFlagsInUseLine: true,
	}
}

// stream is a connection that is a command's standard input and output on the host.
type stream struct {
	host   string
	in     io.WriteCloser
	out    *bufio.Reader
	end    func() // of the command
	finish sync.Once
}

// stream runs a command that carries a connection, and returns when it says that it does.
func (h *sshHost) stream(ctx context.Context, command string) (net.Conn, error) {
	// Not for ctx to end: it is that of the first request, and others follow.
	cmd := exec.Command("ssh", h.args("no", command)...)
	said := &tail{limit: maxRemoteErrors}
	cmd.Stderr = said
	cmd.WaitDelay = sshEndLimit
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := h.begin(cmd); err != nil {
		return nil, err
	}
	over, ended := make(chan struct{}), make(chan struct{})
	s := &stream{host: h.name, in: in, out: bufio.NewReader(out), end: func() { close(over) }}
	go func() {
		defer h.streams.Done()
		defer close(ended)
		select {
		case <-over:
		case <-h.closing:
		}
		in.Close()
		out.Close()
		kill := time.AfterFunc(sshEndLimit, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		_ = cmd.Wait() // why it ended stands in what it said
	}()
	ctx, cancel := context.WithTimeout(ctx, streamLimit)
	defer cancel()
	ready := make(chan error, 1)
	go func() { ready <- s.awaitReady() }()
	select {
	case <-ctx.Done():
		s.Close()
		<-ready
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("no answer within %s", streamLimit)
		}
		return nil, ctx.Err()
	case err := <-ready:
		if err == nil {
			return s, nil
		}
		s.Close()
		<-ended // with it come its last words
		if last := lastLine(said.String()); last != "" {
			err = errors.New(strings.TrimPrefix(last, "piswarm: "))
		}
		return nil, err
	}
}

// begin starts the command of a stream, unless the connection is at its end: net/http dials also for nobody any more.
func (h *sshHost) begin(cmd *exec.Cmd) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return net.ErrClosed
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run ssh: %w", err)
	}
	h.streams.Add(1)
	return nil
}

// awaitReady passes over what a login prints.
func (s *stream) awaitReady() error {
	for seen := 0; seen < maxRemoteOutput; {
		line, err := s.out.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return errors.New("the connection ended before the agent answered")
		}
		if strings.TrimSpace(string(line)) == streamReady {
			return nil
		}
		seen += len(line)
	}
	return errors.New("something else than piswarm answers")
}

func (s *stream) Read(p []byte) (int, error)  { return s.out.Read(p) }
func (s *stream) Write(p []byte) (int, error) { return s.in.Write(p) }

func (s *stream) Close() error {
	s.finish.Do(s.end)
	return nil
}

// sshAddr is where a stream leads.
type sshAddr string

func (sshAddr) Network() string  { return "ssh" }
func (a sshAddr) String() string { return string(a) }

func (s *stream) LocalAddr() net.Addr  { return sshAddr("") }
func (s *stream) RemoteAddr() net.Addr { return sshAddr(s.host) }

// The requests that go over a stream are bounded by their contexts.
func (s *stream) SetDeadline(time.Time) error      { return os.ErrNoDeadline }
func (s *stream) SetReadDeadline(time.Time) error  { return os.ErrNoDeadline }
func (s *stream) SetWriteDeadline(time.Time) error { return os.ErrNoDeadline }
