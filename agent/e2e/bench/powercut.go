package main

import (
	"context"
	"sync"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

const (
	// cuts is how often a Pi loses its power.
	cuts = 10
	// knocking is how often the laptop tries, and calmFor how long nothing may fail before it is over.
	knocking = 25 * time.Millisecond
	calmFor  = 4 * time.Second
)

// measurePowerCut cuts the Pis' power, of one after the other, the leader's among them. It takes the time until the wanted
// number of tasks runs on the others, and until the last connection to another node that came to nothing was begun.
func measurePowerCut(ctx context.Context, s *shelf) ([]figure, error) {
	var again, failing []float64
	for i := range cuts {
		victim, other := s.names()[i%s.nodes], s.names()[(i+1)%s.nodes]
		if err := s.create(ctx, other, "greeters", published, 2*s.nodes); err != nil {
			return nil, err
		}
		runs, failed, err := s.cut(ctx, victim, other)
		if err != nil {
			return nil, err
		}
		progress("%s lost its power: the tasks run after %.2f s, nothing fails after %.2f s", victim, runs.Seconds(), failed.Seconds())
		again, failing = append(again, runs.Seconds()), append(failing, failed.Seconds())
		if err := s.lab.PowerOn(ctx, victim); err != nil {
			return nil, err
		}
		if err := s.awaitReady(ctx); err != nil {
			return nil, err
		}
		if err := s.clear(ctx); err != nil {
			return nil, err
		}
	}
	what := "power cut of one of " + map[int]string{3: "three", 5: "five"}[s.nodes]
	return []figure{
		medianFigure(what+": wanted tasks run again", "s", 3, again),
		medianFigure(what+": no connection fails", "s", 2, failing),
	}, nil
}

func (s *shelf) cut(ctx context.Context, victim, other string) (runs, lastFailure time.Duration, err error) {
	var (
		mu       sync.Mutex
		failedAt time.Time
		knocks   sync.WaitGroup
	)
	ctx, cancel := context.WithCancel(ctx)
	began := time.Now()
	if err := s.lab.PowerOff(victim); err != nil {
		cancel()
		return 0, 0, err
	}
	knocks.Go(func() {
		tick := time.NewTicker(knocking)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case at := <-tick.C:
				knocks.Go(func() {
					if _, err := s.greet(ctx, other, published); err != nil && ctx.Err() == nil {
						mu.Lock()
						defer mu.Unlock()
						if at.After(failedAt) {
							failedAt = at
						}
					}
				})
			}
		}
	})
	defer knocks.Wait()
	defer cancel()
	err = poll(ctx, time.Minute, "the tasks run on the other nodes", func() bool {
		all, err := s.tasks(ctx, other, "greeters")
		running := 0
		for _, t := range all {
			if t.State == cluster.Running && t.Node != victim {
				running++
			}
		}
		return err == nil && running >= 2*s.nodes
	})
	if err != nil {
		return 0, 0, err
	}
	runs = time.Since(began)
	err = poll(ctx, time.Minute, "connections succeed", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return time.Since(began) > calmFor && time.Since(failedAt) > calmFor
	})
	mu.Lock()
	defer mu.Unlock()
	if !failedAt.IsZero() {
		lastFailure = failedAt.Sub(began)
	}
	return runs, lastFailure, err
}
