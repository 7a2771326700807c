package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"sync"
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// LinesQuery says which lines of a task's output are wanted.
type LinesQuery struct {
	After  string    // what was read up to, as Line.At says
	Tail   int       // so many of those that are there; negative: all
	Since  time.Time // none that is older
	Follow bool      // wait for more, until the task's container is removed
}

// Line is a line of a task's output.
type Line struct {
	Text    string
	Time    time.Time
	Partial bool
	At      string
}

// newLife is the pause before the output of a task's next life is looked for.
const newLife = 300 * time.Millisecond

// localLogs passes on the output of tasks of this node; while it follows, until none of them is here any more.
func (m *Member) localLogs(ctx context.Context, q logRequest, each emit) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	dirty, stop := m.Store.Watch(state.Kinds(cluster.KindService, cluster.KindPlan, cluster.KindReport))
	defer stop()
	v := m.View()
	self, _ := v.Member(v.Self)
	var mu sync.Mutex // lines of several tasks come one after the other
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel(nil)
	type end struct {
		task string
		err  error
	}
	ends := make(chan end)
	busy := map[string]bool{}
	begin := func(tail int) {
		for _, t := range localTasks(m.View(), q) {
			if busy[t.ID] {
				continue
			}
			busy[t.ID] = true
			reader := &taskReader{m: m, task: t, node: self.Name, query: LinesQuery{After: q.After[t.ID], Tail: tail, Since: q.Since, Follow: q.Follow}}
			group.Go(func() {
				err := reader.read(ctx, func(l nodeLine) error {
					mu.Lock()
					defer mu.Unlock()
					return each(l)
				})
				select {
				case ends <- end{t.ID, err}:
				case <-ctx.Done():
				}
			})
		}
	}
	for begin(q.Tail); len(busy) > 0; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e := <-ends:
			if e.err != nil {
				return e.err
			}
			delete(busy, e.task)
		case <-dirty:
		}
		if q.Follow {
			begin(-1)
		}
	}
	return nil
}

// localTasks are the wanted tasks of this node.
func localTasks(v view.View, q logRequest) []client.Task {
	var found []client.Task
	for _, t := range tasks(v, q.Service, false) {
		if t.NodeID == v.Self && q.wants(t) {
			found = append(found, t)
		}
	}
	return found
}

// taskReader reads the output of a task, of one life after the other.
type taskReader struct {
	m     *Member
	task  client.Task
	node  string
	query LinesQuery
}

// read returns when all was read; while it follows, when the task is gone.
func (t *taskReader) read(ctx context.Context, each emit) error {
	for {
		err := t.m.Tasks.Lines(ctx, t.task.ID, t.query, func(l Line) error {
			t.query.After = l.At
			return each(nodeLine{At: l.At, LogLine: client.LogLine{
				Node: t.node, Service: t.task.Service, Slot: t.task.Slot, Task: t.task.ID, Stream: "stdout", Time: l.Time, Text: l.Text, Partial: l.Partial,
			}})
		})
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		case !t.query.Follow:
			return nil
		}
		t.query.Tail = -1 // what comes now is new
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(newLife):
		}
		if _, err := localTask(t.m.View(), t.task.ID); err != nil {
			return nil
		}
	}
}

// maxNodeLine bounds a line of another node's answer: a line of output, with every byte of it escaped.
const maxNodeLine = 256 << 10

// remoteLogs passes on the output of tasks of another node.
func (m *Member) remoteLogs(ctx context.Context, node cluster.Member, q logRequest, each emit) error {
	raw, err := json.Marshal(q)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	response, err := m.forward(ctx, node.ID, node.Name, reachLimit, http.MethodPost, LogsPath, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	silent := time.AfterFunc(aliveLimit, func() { cancel(fmt.Errorf("nothing heard from it for %s", aliveLimit)) })
	defer silent.Stop()
	in := bufio.NewScanner(response.Body)
	in.Buffer(make([]byte, 0, 4<<10), maxNodeLine)
	for in.Scan() {
		silent.Reset(aliveLimit)
		if len(in.Bytes()) == 0 {
			continue
		}
		line, err := readNodeLine(in.Bytes())
		if err != nil {
			return err
		}
		line.Node = node.Name
		if err := each(line); err != nil {
			return err
		}
	}
	switch err := in.Err(); {
	case err != nil && context.Cause(ctx) != nil:
		return context.Cause(ctx)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it broke off")
	default:
		return err
	}
}

// readNodeLine reads a line of another node's answer.
func readNodeLine(raw []byte) (nodeLine, error) {
	var l nodeLine
	if err := json.Unmarshal(raw, &l); err != nil {
		return l, fmt.Errorf("its line of output cannot be read: %w", err)
	}
	return l, nil
}
