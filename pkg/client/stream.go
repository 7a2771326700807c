package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
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
