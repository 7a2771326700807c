package dockerapi

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/moby/moby/api/types"
	"github.com/moby/moby/api/types/container"

	"github.com/piswarm/piswarm/pkg/client"
)

// Docker makes a command with one call, starts it with the next, and asks for its exit code with a third. What is between
// them is all that this API remembers.
const (
	maxExecs   = 128
	execExpiry = 5 * time.Minute // of one that was not started, or is over
)

// execs are commands that are made, run, or have ended a moment ago. They are cleared when another one is made.
type execs struct {
	mu  sync.Mutex
	all map[string]*execution
}

// execution is a command.
type execution struct {
	id, container, task string
	spec                client.ExecSpec

	mu      sync.Mutex
	since   time.Time // of its making, or its end
	started bool
	running *client.Exec // nil but while it runs
	code    *int
}

func (e *execs) add(x *execution) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, old := range e.all {
		if old.expired(x.since) {
			delete(e.all, id)
		}
	}
	if len(e.all) >= maxExecs {
		return conflict("%d commands are made or run by docker's API on this node already: end some, or wait %s", maxExecs, execExpiry)
	}
	if e.all == nil {
		e.all = map[string]*execution{}
	}
	e.all[x.id] = x
	return nil
}

func (e *execs) find(id string) (*execution, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	x, ok := e.all[id]
	if !ok {
		return nil, notFound("No such exec instance: %s", id)
	}
	return x, nil
}

func (x *execution) expired(now time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.running == nil && !(x.started && x.code == nil) && now.Sub(x.since) > execExpiry
}

// execCreate is the body of a request to make a command. Docker's own client says besides whether it will wait for it.
type execCreate struct {
	container.ExecCreateRequest
	Detach bool
}

func (s *server) execCreate(r *http.Request) (any, error) {
	in, err := read[execCreate](r)
	if err != nil {
		return nil, err
	}
	t, err := s.running(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	switch {
	case len(in.Cmd) == 0:
		return nil, badRequest("No exec command specified")
	case in.Privileged:
		return nil, unsupported("privileged: a command has the rights of its container")
	case in.Detach:
		return nil, errDetach
	case in.DetachKeys != "":
		return nil, unsupported("detach keys: a command ends with the connection that started it")
	}
	id := make([]byte, 32)
	_, _ = rand.Read(id) // never fails
	x := &execution{
		id: hex.EncodeToString(id), container: containerID(t.id), task: t.ID, since: time.Now(),
		spec: client.ExecSpec{Args: in.Cmd, TTY: in.Tty, Stdin: in.AttachStdin, Env: in.Env, User: in.User, Dir: in.WorkingDir},
	}
	if x.spec.Size, err = sizeIn(in.ConsoleSize); err != nil {
		return nil, err
	}
	if err := s.execs.add(x); err != nil {
		return nil, err
	}
	return created{container.ExecCreateResponse{ID: x.id}}, nil
}

var errDetach = unsupported("detach: a command ends with the connection that started it: leave out --detach")

// sizeIn reads the size of a terminal, its height first.
func sizeIn(size *[2]uint) (client.Size, error) {
	if size == nil {
		return client.Size{}, nil
	}
	if size[0] > 1<<15 || size[1] > 1<<15 {
		return client.Size{}, badRequest("a terminal of %d lines and %d columns is not possible", size[0], size[1])
	}
	return client.Size{Height: uint16(size[0]), Width: uint16(size[1])}, nil
}

// execStart runs a command and makes the connection its input and output.
func (s *server) execStart(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	in, err := read[container.ExecStartRequest](r)
	var x *execution
	if err == nil {
		x, err = s.execs.find(r.PathValue("id"))
	}
	if err == nil && in.Detach {
		err = errDetach
	}
	var running *client.Exec
	if err == nil {
		running, err = s.begin(r, x, in)
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	attach(w, r, x.spec.TTY, running, func(code int) {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.running, x.code, x.since = nil, &code, time.Now()
	})
}

// begin starts a command that was not started before.
func (s *server) begin(r *http.Request, x *execution, in container.ExecStartRequest) (*client.Exec, error) {
	spec := x.spec
	if in.ConsoleSize != nil {
		size, err := sizeIn(in.ConsoleSize)
		if err != nil {
			return nil, err
		}
		spec.Size = size
	}
	x.mu.Lock()
	if x.started {
		x.mu.Unlock()
		return nil, conflict("exec %s was started before", x.id)
	}
	x.started = true
	x.mu.Unlock()
	// A client that has nothing to say closes its side at once, which net/http takes for its going. The command ends with
	// attach, and its beginning is bounded.
	running, err := s.api.Exec(context.WithoutCancel(r.Context()), x.task, spec)
	x.mu.Lock()
	defer x.mu.Unlock()
	if err != nil {
		code := 126
		x.code, x.since = &code, time.Now()
		return nil, err
	}
	x.running = running
	return running, nil
}

// attach gives a command the connection of a request, until either ends. It says with which exit code before it closes the
// connection: a client asks for it as soon as that is closed.
func attach(w http.ResponseWriter, r *http.Request, tty bool, running *client.Exec, ended func(code int)) {
	defer running.Close()
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		ended(-1)
		return
	}
	defer conn.Close()
	code := -1
	defer func() { ended(code) }()
	media := types.MediaTypeMultiplexedStream
	if tty {
		media = types.MediaTypeRawStream
	}
	head := "HTTP/1.1 200 OK\r\nContent-Type: " + media + "\r\n\r\n"
	if r.Header.Get("Upgrade") != "" {
		head = "HTTP/1.1 101 UPGRADED\r\nContent-Type: " + media + "\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
	}
	if _, err := io.WriteString(conn, head); err != nil {
		return
	}
	go feed(running, buffered.Reader) // it ends with the connection, which is closed below
	var mu sync.Mutex
	var stdout, stderr io.Writer = multiplexed{&mu, conn, toStdout}, multiplexed{&mu, conn, toStderr}
	if tty {
		stdout, stderr = conn, conn
	}
	code, err = running.Wait(stdout, stderr)
	if err != nil {
		code = cmp.Or(code, -1)
	}
	if err != nil && !errors.Is(err, net.ErrClosed) && !tty {
		fmt.Fprint(multiplexed{&mu, conn, toSystem}, err.Error()) // nobody may be left to read it
	}
}

// feed hands on what the client sends.
func feed(running *client.Exec, in *bufio.Reader) {
	if _, err := io.Copy(running, in); err == nil {
		_ = running.CloseWrite() // it has ended, then
	}
}

func (s *server) execResize(r *http.Request) (any, error) {
	x, err := s.execs.find(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	height, err := number(r, "h", 0)
	if err != nil {
		return nil, err
	}
	width, err := number(r, "w", 0)
	if err != nil {
		return nil, err
	}
	size, err := sizeIn(&[2]uint{uint(max(height, 0)), uint(max(width, 0))})
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	running := x.running
	x.mu.Unlock()
	if running == nil {
		return nil, conflict("exec %s does not run", x.id)
	}
	return struct{}{}, running.Resize(size)
}

func (s *server) execInspect(r *http.Request) (any, error) {
	x, err := s.execs.find(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return container.ExecInspectResponse{
		ID: x.id, ContainerID: x.container, Running: x.running != nil, ExitCode: x.code, OpenStdin: x.spec.Stdin, OpenStdout: true, OpenStderr: true,
		CanRemove: x.code != nil,
		ProcessConfig: &container.ExecProcessConfig{
			Tty: x.spec.TTY, Entrypoint: x.spec.Args[0], Arguments: slices.Clone(x.spec.Args[1:]), User: x.spec.User,
		},
	}, nil
}
