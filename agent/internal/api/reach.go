package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// Tasks reaches the containers of this node's tasks.
type Tasks interface {
	// Lines calls each for the lines of a task's output; see [LinesQuery]. That there is no output is fs.ErrNotExist.
	Lines(ctx context.Context, id string, q LinesQuery, each func(Line) error) error
	// Run runs a command until it ends, and calls started when it does. What the command or the container is to blame for
	// is an ErrRefused.
	Run(ctx context.Context, id string, spec client.ExecSpec, io ExecIO) (code int, err error)
	// Stop ends a container and waits for that. A negative time is the service's.
	Stop(ctx context.Context, id, signal string, grace time.Duration) error
	Signal(ctx context.Context, id, signal string) error
	// Usage reads what a container uses, NodeUsage what the node does; who it is stands in neither.
	Usage(id string) (client.TaskStats, error)
	NodeUsage() client.NodeStats
}

// ErrRefused is the kind of an error that says what was wrong with what was asked for.
var ErrRefused = errors.New("refused")

// reachLimit bounds a question to another node, beside what it says itself.
const reachLimit = 15 * time.Second

// findTask finds the task that a word means: an ID or the beginning of one, a name as greeters.1 (or lamp.pi1, or docker's
// greeters.1.ID), or a service that has one task alone. Of several by one name it is the one that runs.
func findTask(v view.View, word string) (client.Task, error) {
	all := tasks(v, "", false)
	var found []client.Task
	for _, means := range []func(client.Task) bool{
		func(t client.Task) bool { return t.ID == word },
		func(t client.Task) bool { return taskName(t) == word || taskName(t)+"."+t.ID == word },
		func(t client.Task) bool { return t.Service == word && t.Desired == cluster.Running },
		func(t client.Task) bool { return word != "" && strings.HasPrefix(t.ID, word) },
	} {
		for _, t := range all {
			if means(t) {
				found = append(found, t)
			}
		}
		if len(found) > 0 {
			break
		}
	}
	switch {
	case len(found) == 0:
		return client.Task{}, notFound("no task %s: `piswarm ps` lists them", word)
	case len(found) == 1:
		return found[0], nil
	}
	best, same := found[0], true
	for _, t := range found {
		same = same && taskName(t) == taskName(best)
		if best.State != cluster.Running && t.State == cluster.Running || best.State != cluster.Running && best.Desired != cluster.Running && t.Desired == cluster.Running {
			best = t
		}
	}
	if !same {
		return client.Task{}, conflict("%s means %d tasks: name one of them, for example %s; `piswarm ps` lists them", word, len(found), taskName(found[0]))
	}
	return best, nil
}

// taskName is what people call a task.
func taskName(t client.Task) string {
	switch {
	case t.Slot != 0:
		return fmt.Sprintf("%s.%d", t.Service, t.Slot)
	case t.Node != "":
		return t.Service + "." + t.Node
	}
	return t.Service
}

// reachable tells whether a task can be reached, and if it is on this node.
func reachable(v view.View, t client.Task) (here bool, err error) {
	switch {
	case t.NodeID == "":
		return false, conflict("%s is on no node yet: %s", taskName(t), t.Error)
	case t.NodeID == v.Self:
		return true, nil
	case !v.Ready(t.NodeID):
		return false, conflict("%s was on node %s, and that is down", taskName(t), t.Node)
	}
	return false, nil
}

// forward sends a request to another member. The caller closes the answer's body; an answer that is a problem is an error.
// Without an answer's beginning it gives up after the limit; ctx bounds the rest.
func (m *Member) forward(ctx context.Context, node, name string, limit time.Duration, method, path string, body io.Reader) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	late := time.AfterFunc(limit, func() { cancel(fmt.Errorf("it did not answer within %s", limit)) })
	request, err := http.NewRequestWithContext(ctx, method, "https://"+node+path, body)
	if err != nil {
		late.Stop()
		cancel(nil)
		return nil, err
	}
	response, err := m.Peer(node).Do(request)
	if !late.Stop() && err == nil {
		response.Body.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
		return nil, problem{http.StatusBadGateway, fmt.Errorf("node %s does not answer: %w", name, err)}
	}
	response.Body = &forwarded{response.Body, cancel}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	defer response.Body.Close()
	return nil, problem{response.StatusCode, fmt.Errorf("node %s: %s", name, problemOf(response))}
}

// forwarded is an answer's body that ends its request's context.
type forwarded struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (f *forwarded) Close() error {
	defer f.cancel(nil)
	return f.ReadCloser.Close()
}

// problemOf is what another node says about a failure, in one line.
func problemOf(r *http.Response) string {
	raw, _ := io.ReadAll(io.LimitReader(r.Body, 4<<10))
	var p client.Problem
	if json.Unmarshal(raw, &p) == nil && p.Error != "" {
		return oneLine(errors.New(p.Error))
	}
	return r.Status
}

// maxForwarded bounds an answer that is passed on as a whole.
const maxForwarded = 1 << 20

// ask is forward with JSON in both directions.
func (m *Member) ask(ctx context.Context, node, name string, limit time.Duration, method, path string, in, out any) error {
	var body io.Reader = http.NoBody
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	response, err := m.forward(ctx, node, name, limit, method, path, body)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if err := json.NewDecoder(io.LimitReader(response.Body, maxForwarded)).Decode(out); err != nil {
		return problem{http.StatusBadGateway, fmt.Errorf("node %s: its answer to %s %s: %w", name, method, path, err)}
	}
	return nil
}
