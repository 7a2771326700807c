package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// sustained is for how long new connections are made: longer than the kernel remembers one that has ended.
	sustained = time.Minute
	// smallTable is how many connections a Pi with 512 MB remembers.
	smallTable = 65536
)

// measureConntrack makes new connections through a published port for a minute, and looks whether the kernel had no
// place for one.
func measureConntrack(ctx context.Context) (all []figure, err error) {
	g, err := newGround(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := g.close(); err == nil {
			err = closeErr
		}
	}()
	if err := g.change(ctx, services(1, g.backends...)); err != nil {
		return nil, err
	}
	before, err := g.lost()
	if err != nil {
		return nil, err
	}
	long := newEach
	long.argv = []string{"wrk", "-t1", "-c8", fmt.Sprintf("-d%.0fs", sustained.Seconds()), "-H", "Connection: close"}
	type end struct {
		outcome
		err error
	}
	ended := make(chan end, 1)
	go func() {
		r, err := long.measure(func(argv ...string) (string, error) { return g.laptop.output(ctx, argv...) },
			fmt.Sprintf("http://%s:%d/", nodeAddress, firstPort))
		ended <- end{r, err}
	}()
	peak := 0.0
	var e end
	for waits := true; waits; {
		select {
		case e = <-ended:
			waits = false
		case <-time.After(time.Second):
			n, err := g.setting("nf_conntrack_count")
			if err != nil {
				<-ended
				return nil, err
			}
			peak = max(peak, n)
		}
	}
	if e.err != nil {
		return nil, e.err
	}
	after, err := g.lost()
	if err != nil {
		return nil, err
	}
	most, err := g.setting("nf_conntrack_max")
	if err != nil {
		return nil, err
	}
	rate := rateFigure(fmt.Sprintf("new connections for %s", sustained), []outcome{e.outcome})
	lost := figure{
		Name: "connections that the kernel had no place for", Target: new(0.0), Value: after - before, Samples: []float64{after - before},
		Note: fmt.Sprintf("at most %.0f remembered, of %.0f", peak, most), steady: true,
	}
	// Each is remembered for as long as on any node, so the peak tells for how long on average.
	small := e.rate * smallTable / peak
	return []figure{rate, lost, {
		Name: "new connections that a Pi with 512 MB has place for", Unit: "1/s", Value: small, Samples: []float64{small}, steady: true,
	}}, nil
}

// setting is one of the kernel's about connections.
func (g *ground) setting(name string) (n float64, err error) {
	err = g.node.in(func() error {
		text, err := os.ReadFile("/proc/sys/net/netfilter/" + name)
		if err != nil {
			return err
		}
		n, err = strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		return err
	})
	return n, err
}

// lost is how many connections the node's kernel could not remember, or forgot before their time for want of place.
func (g *ground) lost() (sum float64, err error) {
	err = g.node.in(func() error {
		text, err := os.ReadFile("/proc/thread-self/net/stat/nf_conntrack")
		if err != nil {
			return err
		}
		sum, err = parseLost(string(text))
		return err
	})
	return sum, err
}

// parseLost adds up the columns of a table that has a line for each processor.
func parseLost(text string) (sum float64, err error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	names := strings.Fields(lines[0])
	found := 0
	for _, line := range lines[1:] {
		for i, value := range strings.Fields(line) {
			if i >= len(names) || names[i] != "insert_failed" && names[i] != "drop" && names[i] != "early_drop" {
				continue
			}
			n, err := strconv.ParseUint(value, 16, 64)
			if err != nil {
				return 0, fmt.Errorf("nf_conntrack's statistics: %w", err)
			}
			found++
			sum += float64(n)
		}
	}
	if found == 0 || found%3 != 0 {
		return 0, fmt.Errorf("nf_conntrack's statistics lack a column: %s", lines[0])
	}
	return sum, nil
}
