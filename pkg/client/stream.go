package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxLine bounds a line of a stream.
const maxLine = 1 << 20

// lines returns a scanner of the lines of r, none longer than [maxLine].
func lines(r io.Reader) *bufio.Scanner {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, 4<<10), maxLine)
	return s
}

// lineError explains why a stream of lines ended.
func lineError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("the agent sent a line longer than %d MB", maxLine>>20)
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// silence ends a stream on which nothing moves any more. A stream has no length that could bound it, so its pauses
// are bounded.
type silence struct {
	limit time.Duration
	timer *time.Timer
}

// limitSilence returns a context that ends when heard has not been called for the limit. The caller calls
// stop when the stream is done.
func limitSilence(ctx context.Context, limit time.Duration) (_ context.Context, s *silence, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	s = &silence{limit: limit}
	s.timer = time.AfterFunc(limit, func() {
		cancel(fmt.Errorf("nothing heard from the agent for %v", limit))
	})
	return ctx, s, func() {
		s.timer.Stop()
		cancel(context.Canceled)
	}
}

func (s *silence) heard() { s.timer.Reset(s.limit) }

// reader returns r such that each read counts as heard: what is being sent is a sign of life too.
func (s *silence) reader(r io.Reader) io.Reader { return &heardReader{r, s} }

type heardReader struct {
	r io.Reader
	s *silence
}

func (h *heardReader) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.s.heard()
	return n, err
}

// stream sends a long request and returns the last line of its answer. The lines before it are told to progress, which
// may be nil. It is given up when nothing moves for the limit.
func (c *Client) stream(ctx context.Context, limit time.Duration, path, contentType string, body io.Reader, progress func(Progress)) (Progress, error) {
	ctx, silence, stop := limitSilence(ctx, limit)
	defer stop()
	resp, err := c.send(ctx, http.MethodPost, path, contentType, silence.reader(body))
	if err != nil {
		return Progress{}, err
	}
	defer resp.Body.Close()
	in := lines(resp.Body)
	for in.Scan() {
		silence.heard()
		var p Progress
		if err := json.Unmarshal(in.Bytes(), &p); err != nil {
			return Progress{}, fmt.Errorf("the agent's answer to POST %s is not what this version of piswarm understands: %w", path, err)
		}
		switch {
		case p.Error != "":
			return Progress{}, errors.New(p.Error)
		case p.Done:
			return p, nil
		case progress != nil:
			progress(p)
		}
	}
	return Progress{}, fmt.Errorf("the agent broke off: %w", lineError(ctx, in.Err()))
}
