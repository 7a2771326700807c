package dockerapi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/api/types"

	"github.com/piswarm/piswarm/pkg/client"
)

// The streams that docker sends in one, each piece of them with a head of eight bytes.
const (
	toStdout byte = 1
	toStderr byte = 2
	toSystem byte = 3 // an error of the engine's
)

// multiplexed writes one of several streams.
type multiplexed struct {
	mu *sync.Mutex
	w  io.Writer
	to byte
}

func (m multiplexed) Write(p []byte) (int, error) {
	head := make([]byte, 8, 8+len(p))
	head[0] = m.to
	binary.BigEndian.PutUint32(head[4:], uint32(len(p)))
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.w.Write(append(head, p...)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// fixedNano is docker's form of a time before a line.
const fixedNano = "2006-01-02T15:04:05.000000000Z07:00"

// logQuery is what a request for output asks for.
type logQuery struct {
	client.LogsQuery
	until               time.Time
	timestamps, details bool
}

func readLogQuery(r *http.Request) (q logQuery, err error) {
	out, errOut := false, false
	for _, s := range []struct {
		name string
		to   *bool
	}{{"stdout", &out}, {"stderr", &errOut}, {"follow", &q.Follow}, {"timestamps", &q.timestamps}, {"details", &q.details}} {
		if *s.to, err = switched(r, s.name); err != nil {
			return q, err
		}
	}
	switch {
	case !out && !errOut:
		return q, badRequest("Bad parameters: you must choose at least one stream")
	case !out:
		return q, unsupported("stderr alone: what a task writes to its standard error comes with its standard output, in the order in which it was written")
	}
	if q.Since, err = timestamp(r, "since"); err != nil {
		return q, err
	}
	if q.until, err = timestamp(r, "until"); err != nil {
		return q, err
	}
	switch tail := r.URL.Query().Get("tail"); tail {
	case "", "all":
	case "0":
		q.Tail = -1
	default:
		n, err := strconv.ParseUint(tail, 10, 31)
		if err != nil {
			return q, badRequest("tail=%s: want a number of lines, or all", tail)
		}
		q.Tail = int(n)
	}
	return q, nil
}

// timestamp reads seconds since 1970, with a fraction or without. Nothing and 0 are no time at all.
func timestamp(r *http.Request, name string) (time.Time, error) {
	text := r.URL.Query().Get(name)
	if text == "" || text == "0" {
		return time.Time{}, nil
	}
	whole, fraction, _ := strings.Cut(text, ".")
	seconds, err := strconv.ParseInt(whole, 10, 40)
	nanos := int64(0)
	if err == nil && fraction != "" {
		if len(fraction) > 9 {
			fraction = fraction[:9]
		}
		var n uint64
		n, err = strconv.ParseUint(fraction+strings.Repeat("0", 9-len(fraction)), 10, 32)
		nanos = int64(n)
	}
	if err != nil {
		return time.Time{}, badRequest("%s=%s: want seconds since 1970, for example 1136073600.5", name, text)
	}
	return time.Unix(seconds, nanos), nil
}

func (s *server) serviceLogs(w http.ResponseWriter, r *http.Request) {
	q, err := readLogQuery(r)
	if err == nil {
		one, findErr := s.findService(r.Context(), r.PathValue("id"))
		q.Service, err = one.Spec.Name, findErr
	}
	s.logs(w, r, q, err)
}

func (s *server) taskLogs(w http.ResponseWriter, r *http.Request) {
	q, err := readLogQuery(r)
	if err == nil {
		t, findErr := s.findTask(r.Context(), r.PathValue("id"))
		q.Task, err = t.ID, findErr
	}
	s.logs(w, r, q, err)
}

func (s *server) containerLogs(w http.ResponseWriter, r *http.Request) {
	q, err := readLogQuery(r)
	q.details = false // of containers, details are options of their log driver, and there are none
	if err == nil {
		t, findErr := s.findContainer(r.Context(), r.PathValue("id"))
		q.Task, err = t.ID, findErr
	}
	s.logs(w, r, q, err)
}

// logs streams what tasks write, if nothing is wrong with the request yet.
func (s *server) logs(w http.ResponseWriter, r *http.Request, q logQuery, err error) {
	if err != nil {
		s.fail(w, r, err)
		return
	}
	ctx := r.Context()
	if !q.until.IsZero() && q.Follow {
		if q.Follow = q.until.After(time.Now()); q.Follow {
			var cancel context.CancelFunc
			ctx, cancel = context.WithDeadline(ctx, q.until)
			defer cancel()
		}
	}
	logs, err := s.api.Logs(ctx, q.LogsQuery)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer logs.Close()
	w.Header().Set("Content-Type", types.MediaTypeMultiplexedStream)
	w.WriteHeader(http.StatusOK)
	control := http.NewResponseController(w)
	var mu sync.Mutex
	out, system := multiplexed{&mu, w, toStdout}, multiplexed{&mu, w, toSystem}
	lines := lineWriter{s: s, query: q}
	for control.Flush() == nil {
		line, err := logs.Next()
		switch {
		case err != nil:
			if !errors.Is(err, io.EOF) && ctx.Err() == nil {
				fmt.Fprint(system, err.Error())
			} else if lines.trouble != "" {
				fmt.Fprint(system, lines.trouble)
			}
			return
		case !q.until.IsZero() && line.Time.After(q.until):
			continue
		}
		if text, ok := lines.text(ctx, line); ok {
			if _, err := out.Write(text); err != nil {
				return // the client is gone
			}
		}
	}
}

// lineWriter gives lines docker's form.
type lineWriter struct {
	s       *server
	query   logQuery
	nodes   map[string]string // ID by name
	trouble string            // of a node as a whole
}

func (l *lineWriter) text(ctx context.Context, line client.LogLine) ([]byte, bool) {
	text := line.Text
	if line.Error != "" {
		if line.Task == "" {
			l.trouble = line.Error
			return nil, false
		}
		text = "(" + line.Error + ")"
	}
	var b strings.Builder
	if l.query.timestamps {
		b.WriteString(line.Time.UTC().Format(fixedNano) + " ")
	}
	if l.query.details {
		// Docker's client looks up the node and the task by these, to name them before the line.
		fmt.Fprintf(&b, "com.docker.swarm.node.id=%s,com.docker.swarm.service.id=%s,com.docker.swarm.task.id=%s ", l.node(ctx, line.Node), line.Service, line.Task)
	}
	b.WriteString(text)
	if !line.Partial {
		b.WriteByte('\n')
	}
	return []byte(b.String()), true
}

// node is the ID of the node of that name.
func (l *lineWriter) node(ctx context.Context, name string) string {
	if id, ok := l.nodes[name]; ok {
		return id
	}
	l.nodes = map[string]string{name: name} // should it have gone meanwhile
	nodes, err := l.s.api.Nodes(ctx)
	if err != nil {
		return name
	}
	for _, n := range nodes {
		l.nodes[n.Name] = swarmID(n.ID)
	}
	return l.nodes[name]
}
