package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// logSilence is three times the pause between the agent's signs of life on a stream of output.
const logSilence = 45 * time.Second

// LogsQuery says whose output is wanted: that of a service's tasks, or of one task.
type LogsQuery struct {
	Service string // name
	Task    string // ID, or name as service.slot; see [Client.Logs]
	// Follow goes on with what is written later, by tasks that come later too.
	Follow bool
	// Tail is how many lines of each task are wanted of what is there already: 0 for all, negative for none.
	Tail  int
	Since time.Time // nothing that is older; zero for all
}

// LogLine is one line of the answer of GET /v1/logs (application/x-ndjson).
type LogLine struct {
	Node    string `json:"node"` // name
	Service string `json:"service"`
	Slot    int    `json:"slot"`
	Task    string `json:"task"` // ID
	// Stream is always stdout: what a task writes to its standard error goes the same way, in its order.
	Stream string `json:"stream,omitempty"`
	// Time is when the agent saw the line, by its node's clock: up to a quarter of a second after it was written.
	Time time.Time `json:"time"`
	Text string    `json:"text"` // without the line's end
	// Partial says that the line goes on with the next one of this task: none is longer than 16 KiB.
	Partial bool `json:"partial,omitempty"`
	// Error says instead of a text that the output of the task, or of all tasks of the node, could not be read.
	Error string `json:"error,omitempty"`
}

// Logs is a running stream of output.
type Logs struct {
	ctx     context.Context
	silence *silence
	stop    func()
	body    io.ReadCloser
	in      *bufio.Scanner
}

// Logs opens the stream of what tasks write, on whichever nodes they run. A task is found by its ID, the beginning of
// one, its name (greeters.1, or lamp.pi1 of a global service), or the name of a service that has one task alone. The
// caller closes the stream.
func (c *Client) Logs(ctx context.Context, q LogsQuery) (*Logs, error) {
	ctx, silence, stop := limitSilence(ctx, logSilence)
	resp, err := c.send(ctx, http.MethodGet, "/v1/logs?"+q.values().Encode(), "", nil)
	if err != nil {
		stop()
		return nil, err
	}
	return &Logs{ctx: ctx, silence: silence, stop: stop, body: resp.Body, in: lines(silence.reader(resp.Body))}, nil
}

func (q LogsQuery) values() url.Values {
	v := url.Values{}
	set := func(key, value string) {
		if value != "" {
			v.Set(key, value)
		}
	}
	set("service", q.Service)
	set("task", q.Task)
	if q.Follow {
		v.Set("follow", "true")
	}
	if q.Tail != 0 {
		v.Set("tail", strconv.Itoa(max(q.Tail, 0)))
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.Format(time.RFC3339Nano))
	}
	return v
}

// Next waits for the next line. At the end, which a stream that follows does not have, it gives io.EOF.
func (l *Logs) Next() (LogLine, error) {
	for l.in.Scan() {
		if len(bytes.TrimSpace(l.in.Bytes())) == 0 {
			continue // a sign of life
		}
		var line LogLine
		if err := json.Unmarshal(l.in.Bytes(), &line); err != nil {
			return LogLine{}, fmt.Errorf("the agent's line of output is not what this version of piswarm understands: %w", err)
		}
		return line, nil
	}
	err := l.in.Err()
	if err == nil && context.Cause(l.ctx) == nil {
		return LogLine{}, io.EOF
	}
	if err = lineError(l.ctx, err); errors.Is(err, context.Canceled) {
		return LogLine{}, err
	}
	return LogLine{}, fmt.Errorf("the agent's stream of output broke off: %w", err)
}

// Close ends the stream; a Next that waits returns.
func (l *Logs) Close() {
	l.stop()
	l.body.Close()
}
