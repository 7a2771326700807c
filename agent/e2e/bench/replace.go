package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/client"
)

// kills is how many containers are killed, each once: one that is killed again waits longer, as it should.
const kills = 10

// measureReplacement kills containers one after the other and takes the time until the laptop gets an answer of the
// new process through the published port.
func measureReplacement(ctx context.Context, s *shelf) ([]figure, error) {
	if err := s.create(ctx, "pi1", "greeters", published, kills); err != nil {
		return nil, err
	}
	all, err := s.tasks(ctx, "pi1", "greeters")
	if err != nil {
		return nil, err
	}
	var samples []float64
	for i, task := range all {
		took, err := s.kill(ctx, task.Node, task.ID)
		if err != nil {
			return nil, err
		}
		samples = append(samples, took.Seconds())
		progress("kill %d of %d: replaced after %.3f s", i+1, len(all), took.Seconds())
		if err := s.settled(ctx, published, kills); err != nil {
			return nil, err
		}
	}
	return []figure{medianFigure("killed container is replaced and answers", "s", 1, samples)}, nil
}

// kill ends a task's process and waits for its successor.
func (s *shelf) kill(ctx context.Context, node, id string) (time.Duration, error) {
	root, err := s.lab.Root(node)
	if err != nil {
		return 0, err
	}
	containerd, err := client.New(root+"/run/containerd/containerd.sock", client.WithDefaultNamespace("piswarm"))
	if err != nil {
		return 0, fmt.Errorf("containerd of %s: %w", node, err)
	}
	defer containerd.Close()
	old, err := processOf(ctx, containerd, id)
	if err != nil {
		return 0, fmt.Errorf("task %s on %s: %w", id, node, err)
	}
	began := time.Now()
	if _, err := s.on(ctx, node, "kill", "-9", fmt.Sprint(old)); err != nil {
		return 0, err
	}
	var took time.Duration
	err = poll(ctx, 30*time.Second, "the killed task answers again", func() bool {
		host, err := s.greet(ctx, node, published)
		if err != nil || !strings.HasPrefix(id, host) {
			return false
		}
		took = time.Since(began)
		// The last words of the old process are no answer of the new one.
		now, err := processOf(ctx, containerd, id)
		return err == nil && now != old
	})
	return took, err
}

func processOf(ctx context.Context, containerd *client.Client, id string) (uint32, error) {
	container, err := containerd.LoadContainer(ctx, id)
	if err != nil {
		return 0, err
	}
	task, err := container.Task(ctx, nil)
	if err != nil {
		return 0, err
	}
	return task.Pid(), nil
}
