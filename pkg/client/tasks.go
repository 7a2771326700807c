package client

import (
	"context"
	"net/http"
	"time"
)

// TaskStop is the body of POST /v1/tasks/{task}/stop.
type TaskStop struct {
	// Signal asks the container to end, for example SIGINT; empty: the service's, its image's, or SIGTERM.
	Signal string `json:"signal,omitempty"`
	// Timeout is after how many seconds the container is killed; nil: as the service says.
	Timeout *int `json:"timeout,omitempty"`
}

// TaskKill is the body of POST /v1/tasks/{task}/kill.
type TaskKill struct {
	Signal string `json:"signal,omitempty"` // empty: SIGKILL
}

// TaskStats is what a task uses, as its cgroup counts it.
type TaskStats struct {
	Task    string    `json:"task"` // ID
	Service string    `json:"service"`
	Slot    int       `json:"slot"`
	Node    string    `json:"node"` // name
	Time    time.Time `json:"time"` // of the reading, by the node's clock
	// CPUNanos is the processor time that it has used since its start. Two readings make a rate.
	CPUNanos    uint64 `json:"cpuNanos"`
	MemoryBytes uint64 `json:"memoryBytes"` // without what the kernel can drop at once; 0 where it does not count
	MemoryLimit uint64 `json:"memoryLimit"` // 0: none
	Pids        uint64 `json:"pids"`
}

// NodeStats is what a node uses.
type NodeStats struct {
	ID   string    `json:"id"`
	Name string    `json:"name"`
	Time time.Time `json:"time"` // of the reading, by the node's clock
	// CPUNanos is the time that its CPUs processors have worked since its boot, together.
	CPUNanos      uint64      `json:"cpuNanos"`
	CPUs          int         `json:"cpus"`
	MemoryBytes   uint64      `json:"memoryBytes"` // in use
	MemoryTotal   uint64      `json:"memoryTotal"`
	Load          float64     `json:"load"`                  // of the last minute
	Temperature   float64     `json:"temperature,omitempty"` // of the processor in °C; 0 where the machine does not tell
	UptimeSeconds uint64      `json:"uptimeSeconds"`
	Tasks         []TaskStats `json:"tasks"`
	Error         string      `json:"error,omitempty"` // why nothing is known of it now
}

// StopTask asks the container of a task to end, and returns when it has. Its service's restart policy says what comes
// then. See [Client.Logs] for how a task is found.
func (c *Client) StopTask(ctx context.Context, task string, in TaskStop) error {
	limit := writeTimeout
	if in.Timeout != nil {
		limit += time.Duration(*in.Timeout) * time.Second
	}
	return c.onTask(ctx, limit, task, "/stop", in)
}

// KillTask sends a signal to the container of a task. It does not wait for what comes of it.
func (c *Client) KillTask(ctx context.Context, task string, in TaskKill) error {
	return c.onTask(ctx, writeTimeout, task, "/kill", in)
}

func (c *Client) onTask(ctx context.Context, limit time.Duration, task, action string, in any) error {
	path, err := pathOf("/v1/tasks", task)
	if err != nil {
		return err
	}
	var out Written
	return c.call(ctx, limit, http.MethodPost, path+action, in, &out)
}

// Task returns one task, with the ID of its node; see [Client.Logs] for how it is found.
func (c *Client) Task(ctx context.Context, task string) (Task, error) {
	return get[Task](ctx, c, "/v1/tasks", task)
}

// TaskStats reads what a task uses.
func (c *Client) TaskStats(ctx context.Context, task string) (TaskStats, error) {
	var out TaskStats
	path, err := pathOf("/v1/tasks", task)
	if err != nil {
		return out, err
	}
	err = c.call(ctx, readTimeout, http.MethodGet, path+"/stats", nil, &out)
	return out, err
}

// Stats reads what every node and its tasks use. A node that does not answer says so in its place.
func (c *Client) Stats(ctx context.Context) ([]NodeStats, error) {
	var out []NodeStats
	err := c.call(ctx, readTimeout, http.MethodGet, "/v1/stats", nil, &out)
	return out, err
}
