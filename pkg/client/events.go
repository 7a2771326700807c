package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// eventSilence is three times the pause between the agent's keep-alive lines.
const eventSilence = 45 * time.Second

// Events is a running stream of events.
type Events struct {
	ctx     context.Context
	silence *silence
	stop    func()
	body    io.ReadCloser
	in      *bufio.Scanner
}

// Events opens the stream of events. What changes after it has returned is told by an event, so a caller that reads
// what it shows after this call and after each event misses nothing. The caller closes the stream.
func (c *Client) Events(ctx context.Context) (*Events, error) {
	ctx, silence, stop := limitSilence(ctx, eventSilence)
	resp, err := c.send(ctx, http.MethodGet, "/v1/events", "", nil)
	if err != nil {
		stop()
		return nil, err
	}
	return &Events{ctx: ctx, silence: silence, stop: stop, body: resp.Body, in: lines(resp.Body)}, nil
}

// Next waits for the next event. An error ends the stream.
func (e *Events) Next() (Event, error) {
	var data []byte
	for e.in.Scan() {
		e.silence.heard()
		line := e.in.Bytes()
		if len(line) == 0 {
			if len(data) == 0 {
				continue
			}
			var event Event
			if err := json.Unmarshal(data, &event); err != nil {
				return Event{}, fmt.Errorf("the agent's event is not what this version of piswarm understands: %w", err)
			}
			return event, nil
		}
		// Lines of other fields and comments, which keep the stream alive, carry nothing for us.
		if value, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			if len(data)+len(value) > maxLine {
				return Event{}, lineError(e.ctx, bufio.ErrTooLong)
			}
			data = append(data, value...)
		}
	}
	return Event{}, fmt.Errorf("the agent's events broke off: %w", lineError(e.ctx, e.in.Err()))
}

// Close ends the stream; a Next that waits returns.
func (e *Events) Close() {
	e.stop()
	e.body.Close()
}
