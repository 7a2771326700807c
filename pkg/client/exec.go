package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	// execAlive is the pause between signs of life, and execSilence how long one may not come.
	execAlive   = 15 * time.Second
	execSilence = 3 * execAlive
)

// ExecSpec is a command to run in a task's container, beside the container's own program.
type ExecSpec struct {
	Args  []string `json:"args"`
	TTY   bool     `json:"tty,omitempty"`   // it gets a terminal
	Stdin bool     `json:"stdin,omitempty"` // it gets a standard input; without, that is empty
	Env   []string `json:"env,omitempty"`   // over the container's
	User  string   `json:"user,omitempty"`  // name or number, [:GROUP]; empty: the container's
	Dir   string   `json:"dir,omitempty"`   // empty: the container's
	Size  Size     `json:"size,omitzero"`   // of the terminal at first
}

// Size is that of a terminal, in characters.
type Size struct {
	Height uint16 `json:"height"`
	Width  uint16 `json:"width"`
}

// ExecExit is how a command ended.
type ExecExit struct {
	Code int `json:"code"`
	// Error says why the command did not come to its end, if it did not.
	Error string `json:"error,omitempty"`
}

// Exec is a command that runs in a container.
type Exec struct {
	ctx     context.Context
	silence *silence
	stop    func()
	body    io.ReadCloser

	mu   sync.Mutex
	send *io.PipeWriter
}

// Exec starts a command in the container of a task, on whichever node it runs; see [Client.Logs] for how a task is found. It
// returns when the command runs; that there is no such program is an [*Error] with status 422. The caller calls Wait, or
// Close to have the command killed.
func (c *Client) Exec(ctx context.Context, task string, spec ExecSpec) (*Exec, error) {
	path, err := pathOf("/v1/tasks", task)
	if err != nil {
		return nil, err
	}
	first, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("exec in %s: %w", task, err)
	}
	ctx, silence, stop := limitSilence(ctx, execSilence)
	body, send := io.Pipe()
	e := &Exec{ctx: ctx, silence: silence, stop: stop, send: send}
	go e.alive(first)
	resp, err := c.send(ctx, http.MethodPost, path+"/exec", "application/octet-stream", body)
	if err != nil {
		e.end(err)
		return nil, err
	}
	e.body = resp.Body
	return e, nil
}

// alive sends the first frame and then signs of life, until the command's end.
func (e *Exec) alive(first []byte) {
	err := e.frame(FrameSpec, first)
	tick := time.NewTicker(execAlive)
	defer tick.Stop()
	for err == nil {
		select {
		case <-e.ctx.Done():
			e.send.CloseWithError(context.Cause(e.ctx))
			return
		case <-tick.C:
			err = e.frame(FrameAlive, nil)
		}
	}
}

func (e *Exec) frame(kind FrameKind, data []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return WriteFrame(e.send, kind, data)
}

// Write sends bytes to the command's standard input.
func (e *Exec) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		part := p[n:min(n+MaxFrame, len(p))]
		if err := e.frame(FrameStdin, part); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// CloseWrite ends the command's standard input.
func (e *Exec) CloseWrite() error { return e.frame(FrameEOF, nil) }

// Resize changes the size of the command's terminal.
func (e *Exec) Resize(s Size) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return e.frame(FrameResize, data)
}

// Wait copies what the command writes until it ends, and returns its exit code. With a terminal all comes by stdout.
func (e *Exec) Wait(stdout, stderr io.Writer) (code int, err error) {
	defer func() { e.end(err) }()
	in := NewFrameReader(e.body)
	for {
		kind, data, err := in.Next()
		if err != nil {
			return -1, fmt.Errorf("the agent broke off: %w", lineError(e.ctx, err))
		}
		e.silence.heard()
		switch kind {
		case FrameStdout:
			_, err = stdout.Write(data)
		case FrameStderr:
			_, err = stderr.Write(data)
		case FrameExit:
			var exit ExecExit
			if err := json.Unmarshal(data, &exit); err != nil {
				return -1, fmt.Errorf("the agent's word of the command's end is not what this version of piswarm understands: %w", err)
			}
			if exit.Error != "" {
				return -1, errors.New(exit.Error)
			}
			return exit.Code, nil
		}
		if err != nil {
			return -1, err
		}
	}
}

// Close ends the command if it still runs.
func (e *Exec) Close() { e.end(context.Canceled) }

// end lets go of everything; the agent kills a command that still runs.
func (e *Exec) end(err error) {
	if err == nil {
		err = io.EOF
	}
	e.send.CloseWithError(err)
	if e.body != nil {
		e.body.Close()
	}
	e.stop()
}
