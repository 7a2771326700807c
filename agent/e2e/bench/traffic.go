package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
)

const (
	connections  = 400
	trafficTasks = 4
)

// measureTraffic counts who answers.
func measureTraffic(ctx context.Context, s *shelf) ([]figure, error) {
	if err := s.create(ctx, "pi1", "greeters", published, trafficTasks); err != nil {
		return nil, err
	}
	off := figure{Name: "400 connections to a node over 4 tasks: furthest from 100 each", Unit: "off", Target: new(0.0), steady: true}
	for _, node := range s.names() {
		answers := map[string]int{}
		for range connections {
			host, err := s.greet(ctx, node, published)
			if err != nil {
				return nil, err
			}
			answers[host]++
		}
		const each = connections / trafficTasks
		worst := 0.0
		if len(answers) != trafficTasks {
			worst = each
		}
		for _, n := range answers {
			worst = max(worst, math.Abs(float64(n-each)))
		}
		if worst > 0 {
			off.Note = join(off.Note, fmt.Sprintf("%s: %v", node, slices.Sorted(maps.Values(answers))))
		}
		off.add(worst)
	}
	return []figure{off}, nil
}
