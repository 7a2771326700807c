package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"

	"github.com/piswarm/piswarm/pkg/lab"
)

const (
	connections  = 400
	trafficTasks = 4
	loadRounds   = 3
)

// measureTraffic counts who answers, and compares a published port with the plain way to the same container.
func measureTraffic(ctx context.Context, s *shelf) ([]figure, error) {
	if err := s.create(ctx, "pi1", "greeters", published, trafficTasks); err != nil {
		return nil, err
	}
	even, err := s.roundRobin(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.clear(ctx); err != nil {
		return nil, err
	}
	loads, err := s.throughput(ctx)
	return append(even, loads...), err
}

func (s *shelf) roundRobin(ctx context.Context) ([]figure, error) {
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

// throughput asks one container as fast as it answers, once by its node's published port and once by its own address,
// to which the laptop gets a route over the same node, and leave to use it: otherwise a published port is the only way.
func (s *shelf) throughput(ctx context.Context) ([]figure, error) {
	if err := s.create(ctx, "pi1", "greeters", published, 1); err != nil {
		return nil, err
	}
	all, err := s.tasks(ctx, "pi1", "greeters")
	if err != nil {
		return nil, err
	}
	task := all[0]
	node := slices.IndexFunc(s.lab.List(), func(h lab.Host) bool { return h.Name == task.Node })
	if _, err := s.on(ctx, lab.LaptopName, "ip", "route", "replace", task.Address, "via", s.lab.List()[node].Address); err != nil {
		return nil, err
	}
	leave := []string{"FORWARD", "-d", task.Address, "-m", "conntrack", "--ctorigdst", task.Address, "-j", "ACCEPT"}
	if _, err := s.on(ctx, task.Node, append([]string{"iptables", "-I"}, leave...)...); err != nil {
		return nil, err
	}
	var ports, direct []float64
	for round := range loadRounds {
		through, err := s.requests(ctx, fmt.Sprintf("http://%s:%d/", task.Node, published))
		if err != nil {
			return nil, err
		}
		straight, err := s.requests(ctx, fmt.Sprintf("http://%s:5000/", task.Address))
		if err != nil {
			return nil, err
		}
		ports, direct = append(ports, through), append(direct, straight)
		progress("round %d of %d: %.0f requests/s through the port, %.0f straight", round+1, loadRounds, through, straight)
	}
	if _, err := s.on(ctx, task.Node, append([]string{"iptables", "-D"}, leave...)...); err != nil {
		return nil, err
	}
	a := medianFigure("requests through the published port", "1/s", 0, ports)
	b := medianFigure("requests straight to the container", "1/s", 0, direct)
	ratio := figure{Name: "port, by the plain way", Unit: "×", Value: a.Value / b.Value, Target: new(0.9), AtLeast: true}
	for i := range ports {
		ratio.Samples = append(ratio.Samples, ports[i]/direct[i])
	}
	return []figure{a, b, ratio}, nil
}

var rate = regexp.MustCompile(`Requests/sec:\s+([0-9.]+)`)

// requests returns how many requests a second are answered on eight connections. With a connection for each request,
// the laptop would run out of ports within one round, and the figure would be of that.
func (s *shelf) requests(ctx context.Context, url string) (float64, error) {
	out, err := s.on(ctx, lab.LaptopName, "wrk", "-t1", "-c8", "-d4s", url)
	if err != nil {
		return 0, err
	}
	m := rate.FindStringSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("wrk says no rate: %s", out)
	}
	return strconv.ParseFloat(m[1], 64)
}
