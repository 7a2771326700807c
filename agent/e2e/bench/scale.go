package main

import (
	"context"
	"fmt"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
)

const (
	scaleRounds = 5
	scaledTo    = 12
)

// measureScale takes the time from the command until the last of eleven more tasks runs, in turn with the time that
// a program needs that does nothing but start as many containers on the same nodes.
func measureScale(ctx context.Context, s *shelf) ([]figure, error) {
	if err := s.create(ctx, "pi1", "greeters", published, 1); err != nil {
		return nil, err
	}
	bare, err := s.startBare(ctx)
	if err != nil {
		return nil, err
	}
	defer bare.stop()
	var ours, theirs []float64
	for round := range scaleRounds {
		measures := []func() error{
			func() error {
				return sample(&ours, func() (time.Duration, error) { return s.scaleUp(ctx, s.names()[0]) })
			},
			func() error { return sample(&theirs, func() (time.Duration, error) { return bare.startAll(ctx) }) },
		}
		// Each is the first in every other round, lest one of them always finds the warmer machine.
		for i := range measures {
			if err := measures[(i+round)%2](); err != nil {
				return nil, err
			}
		}
		progress("round %d of %d: piswarm %.3f s, bare client %.3f s", round+1, scaleRounds, ours[round], theirs[round])
	}
	up := medianFigure("scale 1→12 over three nodes", "s", 0, ours)
	plain := medianFigure("the same 11 starts by a bare client", "s", 0, theirs)
	ratio := figure{Name: "scale, by the bare client's time", Unit: "×", Value: up.Value / plain.Value, Target: new(1.5)}
	for i := range ours {
		ratio.Samples = append(ratio.Samples, ours[i]/theirs[i])
	}
	return []figure{up, plain, ratio}, bare.stop()
}

func sample(into *[]float64, measure func() (time.Duration, error)) error {
	took, err := measure()
	*into = append(*into, took.Seconds())
	return err
}

// scaleUp scales up, waits as the command line does, by events, and scales down again.
func (s *shelf) scaleUp(ctx context.Context, node string) (took time.Duration, err error) {
	err = s.ask(node, func(c *client.Client) error {
		events, err := c.Events(ctx)
		if err != nil {
			return err
		}
		defer events.Close()
		began := time.Now()
		if _, err := c.ScaleService(ctx, "greeters", scaledTo); err != nil {
			return err
		}
		for {
			running, err := runningTasks(ctx, c)
			if err != nil {
				return err
			}
			if running == scaledTo {
				took = time.Since(began)
				return nil
			}
			if _, err := events.Next(); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return 0, fmt.Errorf("scale up: %w", err)
	}
	err = s.ask(node, func(c *client.Client) error {
		if _, err := c.ScaleService(ctx, "greeters", 1); err != nil {
			return err
		}
		return poll(ctx, time.Minute, "one task is left", func() bool {
			all, err := c.Tasks(ctx, "greeters")
			return err == nil && len(all) == 1
		})
	})
	if err != nil {
		return 0, fmt.Errorf("scale down: %w", err)
	}
	return took, rest(ctx, time.Second) // the nodes put away what ended
}

func runningTasks(ctx context.Context, c *client.Client) (int, error) {
	service, err := c.Service(ctx, "greeters")
	return service.Status.Replicas.Running, err
}
