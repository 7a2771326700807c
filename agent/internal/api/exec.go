package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
)

// ExecIO is what a command reads and writes.
type ExecIO struct {
	Stdin          io.Reader // nil: it is empty
	Stdout, Stderr io.Writer
	Resize         <-chan client.Size
	Started        func() error
}

const (
	// startLimit is how long a command may take to begin: a Pi Zero needs seconds for it.
	startLimit = time.Minute
	// aliveEvery is the pause between signs of life of a stream, and aliveLimit how long one may not come.
	aliveEvery = 15 * time.Second
	aliveLimit = 3 * aliveEvery
)

// exec runs a command in a task of any node, of which the body and the answer carry the input and output.
func (s *Server) exec(w http.ResponseWriter, r *http.Request) {
	s.duplex(w, r, func(m *Member, control *http.ResponseController) error {
		v := m.View()
		t, err := findTask(v, r.PathValue("task"))
		if err != nil {
			return err
		}
		local, err := reachable(v, t)
		switch {
		case err != nil:
			return err
		case local:
			return execHere(m, t.ID, w, r, control)
		}
		return execThere(m, t, w, r, control)
	})
}

// execPeer is exec for another member, in a task of this node.
func (s *Server) execPeer(_ string, w http.ResponseWriter, r *http.Request) {
	s.duplex(w, r, func(m *Member, control *http.ResponseController) error {
		t, err := localTask(m.View(), r.PathValue("task"))
		if err != nil {
			return err
		}
		return execHere(m, t.ID, w, r, control)
	})
}

// duplex answers a request whose body goes on while it is answered. What answers inside one process knows no other kind.
func (s *Server) duplex(w http.ResponseWriter, r *http.Request, h func(*Member, *http.ResponseController) error) {
	control := http.NewResponseController(w)
	err := control.EnableFullDuplex()
	if errors.Is(err, http.ErrNotSupported) {
		err = nil
	}
	// The rest of the body, which nobody reads any more, is not waited for.
	w.Header().Set("Connection", "close")
	defer func() {
		_ = control.Flush()
		_ = control.SetReadDeadline(time.Now().Add(time.Second))
	}()
	var m *Member
	if err == nil {
		m, err = s.member()
	}
	if err == nil {
		err = h(m, control)
	}
	if err != nil {
		s.fail(w, r, err)
	}
}

// execThere has another node run a command in its task.
func execThere(m *Member, t client.Task, w http.ResponseWriter, r *http.Request, control *http.ResponseController) error {
	// Whoever asks is heard by the end of its body, and so is another node.
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	body, send := io.Pipe()
	defer body.Close()
	go func() {
		_, err := io.Copy(send, r.Body)
		send.CloseWithError(err)
		if err != nil {
			cancel(err)
		}
	}()
	response, err := m.forward(ctx, t.NodeID, t.Node, startLimit, http.MethodPost, TasksPath+t.ID+"/exec", body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.WriteHeader(http.StatusOK)
	buf := make([]byte, 32<<10)
	for err := control.Flush(); err == nil; {
		n, readErr := response.Body.Read(buf)
		if n > 0 {
			if _, err = w.Write(buf[:n]); err == nil {
				err = control.Flush()
			}
		}
		if errors.Is(readErr, io.EOF) {
			return nil
		} else if readErr != nil {
			(&frames{w: w, control: control}).exit(-1, fmt.Errorf("node %s broke off: %w", t.Node, readErr))
			return nil
		}
	}
	return nil // a caller that is gone needs no answer
}

// execHere runs a command in a task of this node.
func execHere(m *Member, task string, w http.ResponseWriter, r *http.Request, control *http.ResponseController) error {
	_ = control.SetReadDeadline(time.Now().Add(aliveLimit)) // inside one process there is none
	in := client.NewFrameReader(r.Body)
	spec, err := readExecSpec(in)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	out := &frames{w: w, control: control, fail: cancel}
	stdin, input := io.Pipe()
	defer stdin.Close()
	sizes := make(chan client.Size, 1)
	listener := &execListener{in: in, input: input, sizes: sizes, control: control}
	go func() { cancel(listener.listen(ctx)) }()
	stop := out.keepAlive()
	defer stop()
	streams := ExecIO{Stdout: out.stream(client.FrameStdout), Stderr: out.stream(client.FrameStderr), Resize: sizes, Started: out.start}
	if spec.Stdin {
		streams.Stdin = stdin
	} else {
		stdin.Close()
	}
	code, err := m.Tasks.Run(ctx, task, spec, streams)
	if err != nil && !out.started() {
		return refusable(err)
	}
	out.exit(code, err)
	return nil
}

// readExecSpec reads the first frame.
func readExecSpec(in *client.FrameReader) (spec client.ExecSpec, err error) {
	kind, data, err := in.Next()
	switch {
	case err != nil:
		return spec, badRequest(fmt.Errorf("the first frame: %w", err))
	case kind != client.FrameSpec:
		return spec, badRequest(fmt.Errorf("the first frame is a %q: want the command, %q", rune(kind), rune(client.FrameSpec)))
	}
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.DisallowUnknownFields()
	if err := d.Decode(&spec); err != nil {
		return spec, badRequest(fmt.Errorf("the command is not well formed: %w", err))
	}
	return spec, checkExec(spec)
}

func checkExec(spec client.ExecSpec) error {
	if len(spec.Args) == 0 || spec.Args[0] == "" {
		return badRequest(errors.New("exec needs a command, for example sh"))
	}
	for _, text := range append(append([]string{spec.User, spec.Dir}, spec.Args...), spec.Env...) {
		if strings.ContainsRune(text, 0) {
			return badRequest(fmt.Errorf("%q: a NUL ends a text for the kernel: leave it out", text))
		}
	}
	for _, e := range spec.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return badRequest(fmt.Errorf("environment %q: want NAME=VALUE", e))
		}
	}
	if spec.Dir != "" && !strings.HasPrefix(spec.Dir, "/") {
		return badRequest(fmt.Errorf("directory %q: want an absolute path", spec.Dir))
	}
	return nil
}

// execListener takes in what the caller sends.
type execListener struct {
	in      *client.FrameReader
	input   *io.PipeWriter
	sizes   chan client.Size
	control *http.ResponseController
}

// listen returns why the caller is not heard any more.
func (l *execListener) listen(ctx context.Context) error {
	for {
		_ = l.control.SetReadDeadline(time.Now().Add(aliveLimit))
		kind, data, err := l.in.Next()
		if err != nil {
			l.input.CloseWithError(io.EOF)
			return fmt.Errorf("the caller is gone: %w", err)
		}
		switch kind {
		case client.FrameStdin:
			_, _ = l.input.Write(data) // a command that reads nothing any more gets nothing
		case client.FrameEOF:
			l.input.Close()
		case client.FrameResize:
			var size client.Size
			if json.Unmarshal(data, &size) != nil {
				continue
			}
			select { // the last one counts
			case <-l.sizes:
			default:
			}
			select {
			case l.sizes <- size:
			case <-ctx.Done():
			}
		case client.FrameAlive:
		default:
			return fmt.Errorf("a frame of kind %q has no meaning here", rune(kind))
		}
	}
}

// frames sends what a command writes.
type frames struct {
	w       http.ResponseWriter
	control *http.ResponseController
	fail    func(error) // called when the caller is found gone

	mu   sync.Mutex
	runs bool
	over bool
}

type frameStream struct {
	f    *frames
	kind client.FrameKind
}

func (f *frames) stream(kind client.FrameKind) io.Writer { return frameStream{f, kind} }

func (s frameStream) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		part := p[n:min(n+client.MaxFrame, len(p))]
		if err := s.f.send(s.kind, part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return len(p), nil
}

func (f *frames) send(kind client.FrameKind, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sendLocked(kind, data)
}

func (f *frames) sendLocked(kind client.FrameKind, data []byte) error {
	if f.over {
		return io.ErrClosedPipe
	}
	_ = f.control.SetWriteDeadline(time.Now().Add(aliveLimit)) // who takes nothing for so long is gone
	if err := client.WriteFrame(f.w, kind, data); err != nil {
		return err
	}
	return f.control.Flush()
}

// start says that the command runs.
func (f *frames) start() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.runs = true
	f.w.Header().Set("Content-Type", "application/octet-stream")
	f.w.WriteHeader(http.StatusOK)
	return f.control.Flush()
}

func (f *frames) started() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.runs
}

// exit says how the command ended. Nothing can be said after it.
func (f *frames) exit(code int, err error) {
	end := client.ExecExit{Code: code}
	if err != nil {
		end.Error = oneLine(err)
	}
	raw, err := json.Marshal(end)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		_ = f.sendLocked(client.FrameExit, raw) // a caller that is gone needs to know no more
	}
	f.over = true
}

// keepAlive sends signs of life once the command runs, until stop.
func (f *frames) keepAlive() (stop func()) {
	over := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(aliveEvery)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
			}
			// A command that does not read its input keeps the caller from being heard, and so its end.
			if !f.started() {
				continue
			}
			if err := f.send(client.FrameAlive, nil); err != nil {
				f.fail(err)
				return
			}
		}
	})
	return func() {
		close(over)
		group.Wait()
	}
}
