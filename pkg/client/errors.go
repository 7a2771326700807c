package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

// Error is an answer of the agent that reports a problem.
type Error struct {
	Status  int    // of HTTP: 404 for what does not exist, 409 for what exists already, …
	Message string // one line that says what failed, on what, and what to do
}

func (e *Error) Error() string { return e.Message }

// ConnectError says that no agent could be reached, and what to do about it.
type ConnectError struct {
	Socket string
	Err    error
}

func (e *ConnectError) Error() string {
	switch {
	case errors.Is(e.Err, fs.ErrPermission):
		return fmt.Sprintf("permission denied on %s: you are not in group piswarm: sudo usermod -aG piswarm $USER, then log in again, or use sudo", e.Socket)
	case errors.Is(e.Err, fs.ErrNotExist), errors.Is(e.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("no piswarm agent answers on %s: is it running? systemctl status piswarm", e.Socket)
	}
	return fmt.Sprintf("connect to the piswarm agent on %s: %v", e.Socket, e.Err)
}

func (e *ConnectError) Unwrap() error { return e.Err }

// connectError explains why a request got no answer.
func (c *Client) connectError(ctx context.Context, method, path string, err error) error {
	// What net/http adds is the method and a made-up URL, which tell the user nothing.
	var urlErr *url.Error
	if errors.As(err, &urlErr) {
		err = urlErr.Err
	}
	if cause := context.Cause(ctx); cause != nil {
		if errors.Is(cause, context.DeadlineExceeded) {
			return fmt.Errorf("the agent on %s did not answer %s %s in time: %w", c.socket, method, path, cause)
		}
		return cause
	}
	return &ConnectError{Socket: c.socket, Err: err}
}

// maxProblem bounds the answer that reports a problem, and so the line that a user gets to see.
const maxProblem = 64 << 10

// readProblem reads why the agent refused a request.
func readProblem(resp *http.Response) error {
	e := &Error{Status: resp.StatusCode}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
	if err != nil {
		e.Message = fmt.Sprintf("the agent answered %s and broke off: %v", resp.Status, err)
		return e
	}
	var p Problem
	if json.Unmarshal(data, &p) == nil && p.Error != "" {
		e.Message = p.Error
		return e
	}
	// Something answers that is not a piswarm agent, or not of this version.
	text, _, _ := strings.Cut(strings.TrimSpace(string(data)), "\n")
	e.Message = strings.TrimSuffix(fmt.Sprintf("the agent answered %s: %s", resp.Status, text), ": ")
	return e
}
