package dashboard

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
)

// logLine is a line that a container wrote.
type logLine struct {
	Text string `json:"text"`
	Ago  int64  `json:"ago"` // seconds
}

const (
	// tail is how many lines are shown, each cut off after maxWidth bytes.
	tail, maxWidth = 30, 2 << 10
	// outputTime is how long the node of a task may take to send them.
	outputTime = 5 * time.Second
)

// lastLines are the last that a task wrote, or why they cannot be shown.
func (d *Dashboard) lastLines(ctx context.Context, id string) ([]logLine, string) {
	ctx, cancel := context.WithTimeout(ctx, outputTime)
	defer cancel()
	logs, err := d.cfg.Client.Logs(ctx, client.LogsQuery{Task: id, Tail: tail})
	if err != nil {
		return []logLine{}, shorten(err.Error())
	}
	defer logs.Close()
	out := []logLine{}
	for len(out) < tail {
		l, err := logs.Next()
		switch {
		case errors.Is(err, io.EOF) && len(out) == 0:
			return out, "It has printed nothing."
		case errors.Is(err, io.EOF):
			return out, ""
		case err != nil:
			return out, shorten(err.Error())
		case l.Error != "":
			return out, shorten(l.Error)
		}
		out = append(out, logLine{clip(l.Text, maxWidth), ago(l.Time)})
	}
	return out, ""
}
