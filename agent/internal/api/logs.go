package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// LogsPath answers members with the output of tasks of this node.
const LogsPath = "/node/v1/logs"

// logRequest is the body of POST LogsPath: whose output, and which of it.
type logRequest struct {
	Service string    `json:"service"`
	Slot    int       `json:"slot,omitempty"` // 0: all
	Task    string    `json:"task,omitempty"` // ID; empty: all
	Follow  bool      `json:"follow,omitempty"`
	Tail    int       `json:"tail"` // negative: all
	Since   time.Time `json:"since,omitzero"`
	// After says of tasks how far their output was read already.
	After map[string]string `json:"after,omitempty"`
}

func (q logRequest) wants(t client.Task) bool {
	return t.Service == q.Service && (q.Slot == 0 || t.Slot == q.Slot) && (q.Task == "" || t.ID == q.Task)
}

// nodeLine is a line with where it ends, so that a stream that broke off is taken up where it did.
type nodeLine struct {
	client.LogLine
	At string `json:"at,omitempty"`
}

// emit takes a line; its error ends the stream.
type emit func(nodeLine) error

// readLogQuery reads what a person wants. Whose output is meant is decided once: later tasks of the slot count too.
func readLogQuery(v view.View, query url.Values) (logRequest, error) {
	q := logRequest{Tail: -1}
	var err error
	if q.Follow, err = switched(query, "follow"); err != nil {
		return q, err
	}
	if text := query.Get("tail"); text != "" && text != "all" {
		if q.Tail, err = strconv.Atoi(text); err != nil || q.Tail < 0 {
			return q, badRequest(fmt.Errorf("tail=%s: want a number of lines, or all", text))
		}
	}
	if text := query.Get("since"); text != "" {
		if q.Since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return q, badRequest(fmt.Errorf("since=%s: want a time as 2026-01-02T15:04:05Z", text))
		}
	}
	service, task := query.Get("service"), query.Get("task")
	switch {
	case (service == "") == (task == ""):
		return q, badRequest(errors.New("logs are those of a service or of a task: name one of the two"))
	case service != "":
		_, err := find(v, service)
		q.Service = service
		return q, err
	}
	t, err := findTask(v, task)
	if err != nil {
		return q, err
	}
	q.Service = t.Service
	if t.Slot != 0 && (taskName(t) == task || t.Service == task) {
		q.Slot = t.Slot // whoever names a slot means whatever runs there
		return q, nil
	}
	q.Task = t.ID
	_, err = reachable(v, t)
	return q, err
}

// logs streams the output of tasks of any node.
func (s *Server) logs(w http.ResponseWriter, r *http.Request) {
	m, err := s.member()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	q, err := readLogQuery(m.View(), r.URL.Query())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.streamLines(w, r, func(ctx context.Context, each emit) error {
		g := &gathering{m: m, q: q, lines: make(chan nodeLine), sources: map[string]bool{}, told: map[string]string{}, after: map[string]string{}, node: s.node}
		return g.run(ctx, func(l nodeLine) error {
			l.At = "" // nodes' own
			return each(l)
		})
	})
}

// nodeLogs streams the output of tasks of this node to another member.
func (s *Server) nodeLogs(_ string, w http.ResponseWriter, r *http.Request) {
	m, err := s.member()
	if err != nil {
		s.fail(w, r, err)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	q, err := read[logRequest](r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.streamLines(w, r, func(ctx context.Context, each emit) error { return m.localLogs(ctx, q, each) })
}

// streamLines answers with what produce gives, one line of JSON each, and with a blank line now and then. An answer that
// breaks off in the middle is seen to do so.
func (s *Server) streamLines(w http.ResponseWriter, r *http.Request, produce func(context.Context, emit) error) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	lines := make(chan nodeLine)
	ended := make(chan error, 1)
	go func() {
		ended <- produce(ctx, func(l nodeLine) error {
			select {
			case lines <- l:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}()
	out := bufio.NewWriterSize(w, 8<<10)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	tick := time.NewTicker(aliveEvery)
	defer tick.Stop()
	err := control.Flush()
	for err == nil {
		_ = control.SetWriteDeadline(time.Now().Add(aliveLimit)) // who takes nothing for so long is gone
		select {
		case <-ctx.Done():
			err = context.Cause(ctx)
		case l := <-lines:
			err = encoder.Encode(l)
			continue // what comes at once goes in one piece
		default:
			if err = errors.Join(out.Flush(), control.Flush()); err != nil {
				continue
			}
			select {
			case <-ctx.Done():
				err = context.Cause(ctx)
			case l := <-lines:
				err = encoder.Encode(l)
			case <-tick.C:
				_, err = out.WriteString("\n")
			case produced := <-ended:
				if produced != nil {
					s.log.Debug("a stream of output broke off", "error", produced)
					panic(http.ErrAbortHandler)
				}
				_ = errors.Join(out.Flush(), control.Flush()) // a caller that is gone needs no end
				return
			}
		}
	}
	cancel(err)
	<-ended
}

// gathering collects the output of tasks wherever they are.
type gathering struct {
	m    *Member
	node Node
	q    logRequest

	lines chan nodeLine

	mu      sync.Mutex
	sources map[string]bool   // nodes that are being listened to, by ID
	told    map[string]string // of which trouble the reader knows, by node
	after   map[string]string // how far each task was read
}

// retryPause is the pause before a node that broke off is asked again.
const retryPause = time.Second

func (g *gathering) run(ctx context.Context, each emit) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dirty, stop := g.m.Store.Watch(state.Kinds(cluster.KindService, cluster.KindPlan, cluster.KindReport))
	defer stop()
	members, stop := g.m.Members()
	defer stop()
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel(nil)
	done := make(chan struct{})
	first := true
	begin := func(v view.View) (left bool) {
		for _, node := range g.nodes(v) {
			g.mu.Lock()
			known := g.sources[node.ID]
			g.sources[node.ID] = true
			g.mu.Unlock()
			if known {
				continue
			}
			fresh := first
			group.Go(func() {
				g.listen(ctx, node, fresh)
				g.mu.Lock()
				delete(g.sources, node.ID)
				g.mu.Unlock()
				select {
				case done <- struct{}{}:
				case <-ctx.Done():
				}
			})
		}
		first = false
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.sources) > 0
	}
	busy := begin(g.m.View())
	var again <-chan time.Time
	for busy || g.q.Follow {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case l := <-g.lines:
			if err := each(l); err != nil {
				return err
			}
			continue
		case <-done:
			if !g.q.Follow {
				g.mu.Lock()
				busy = len(g.sources) > 0
				g.mu.Unlock()
				continue
			}
			again = time.After(retryPause) // not at once: it may break off again
			continue
		case <-again:
			again = nil
		case <-dirty:
		case <-members:
			if now, _ := g.node.Member(); now != g.m {
				return errors.New("this node's membership began anew")
			}
		}
		if !g.q.Follow {
			continue
		}
		v := g.m.View()
		busy = begin(v)
		if !busy && g.over(v) {
			return nil
		}
	}
	return nil
}

// over tells whether nothing can come any more.
func (g *gathering) over(v view.View) bool {
	if g.q.Task == "" {
		_, there := v.Service(g.q.Service)
		return !there && len(g.nodes(v)) == 0
	}
	return len(g.nodes(v)) == 0
}

// nodes are those where wanted tasks are.
func (g *gathering) nodes(v view.View) []cluster.Member {
	var nodes []cluster.Member
	for _, t := range tasks(v, g.q.Service, false) {
		if t.NodeID == "" || !g.q.wants(t) || slices.ContainsFunc(nodes, func(m cluster.Member) bool { return m.ID == t.NodeID }) {
			continue
		}
		if node, ok := v.Member(t.NodeID); ok {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// listen passes on what a node has to say, until it has said all. fresh says that its tasks were there when the reader came.
func (g *gathering) listen(ctx context.Context, node cluster.Member, fresh bool) {
	q := g.q
	if !fresh {
		q.Tail = -1
	}
	g.mu.Lock()
	q.After = make(map[string]string, len(g.after))
	for task, at := range g.after {
		q.After[task] = at
	}
	g.mu.Unlock()
	take := func(l nodeLine) error {
		if l.Error == "" {
			g.mu.Lock()
			g.after[l.Task] = l.At
			delete(g.told, node.ID)
			g.mu.Unlock()
		}
		select {
		case g.lines <- l:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	var err error
	v := g.m.View()
	switch {
	case node.ID == v.Self:
		err = g.m.localLogs(ctx, q, take)
	case !v.Ready(node.ID):
		err = errors.New("it is down")
	default:
		err = g.m.remoteLogs(ctx, node, q, take)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	text := fmt.Sprintf("output of node %s cannot be read: %s", node.Name, oneLine(err))
	g.mu.Lock()
	known := g.told[node.ID] == text
	g.told[node.ID] = text
	g.mu.Unlock()
	if !known {
		_ = take(nodeLine{LogLine: client.LogLine{Node: node.Name, Service: q.Service, Slot: q.Slot, Task: q.Task, Time: time.Now().UTC(), Error: text}})
	}
}
