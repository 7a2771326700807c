package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/piswarm/piswarm/pkg/loadbalance"
	"golang.org/x/sys/unix"
)

const (
	manyServices = 1000
	fewServices  = 10
	ruleRounds   = 5
	// changesARound of one backend are measured with few and with many services, in turn.
	changesARound = 10
	// underChange is how many connections are made during how many changes.
	underChange, changesUnder = 10_000, 100
)

// measureRules compares a node that answers for a thousand services with one that answers for one or for ten.
func measureRules(ctx context.Context) (all []figure, err error) {
	grounds := map[int]*ground{}
	defer func() {
		for _, g := range grounds {
			err = errors.Join(err, g.close())
		}
	}()
	for _, n := range []int{1, fewServices, manyServices} {
		g, err := newGround(ctx)
		if err != nil {
			return nil, err
		}
		grounds[n] = g
		if err := g.change(ctx, services(n, g.backends[0])); err != nil {
			return nil, err
		}
	}
	found, err := compareConnections(ctx, grounds[1], grounds[manyServices])
	if err != nil {
		return nil, err
	}
	all = append(all, found...)
	if found, err = compareChanges(ctx, grounds[fewServices], grounds[manyServices]); err != nil {
		return nil, err
	}
	all = append(all, found...)
	failed, err := grounds[manyServices].connectUnderChange(ctx)
	return append(all, failed), err
}

// compareConnections makes new connections to a single service, and to the one whose rule comes last of many.
func compareConnections(ctx context.Context, one, many *ground) ([]figure, error) {
	var goes [2][]outcome
	for round := range ruleRounds {
		for i := range goes {
			which := (i + round) % 2
			g, n := one, 1
			if which == 1 {
				g, n = many, manyServices
			}
			r, err := newEach.measure(func(argv ...string) (string, error) { return g.laptop.output(ctx, argv...) },
				fmt.Sprintf("http://%s:%d/", nodeAddress, firstPort+n-1))
			if err != nil {
				return nil, err
			}
			goes[which] = append(goes[which], r)
		}
		progress("round %d of %d: %.0f connections/s to the last of %d services, %.0f to a single one",
			round+1, ruleRounds, goes[1][round].rate, manyServices, goes[0][round].rate)
	}
	a := rateFigure("new connections to a single service", goes[0])
	b := rateFigure(fmt.Sprintf("new connections to the last of %d services", manyServices), goes[1])
	return []figure{a, b, ratioFigure("last of many services, by a single one", 0.95, b, a)}, nil
}

// compareChanges takes the time of a pass that changes one backend of one service, with few services and with many.
func compareChanges(ctx context.Context, few, many *ground) ([]figure, error) {
	var took [2][]float64
	var cpu [2]float64
	for round := range ruleRounds {
		for i := range took {
			which := (i + round) % 2
			g, n := few, fewServices
			if which == 1 {
				g, n = many, manyServices
			}
			whole := services(n, g.backends[0])
			less := slices.Clone(whole)
			less[n/2] = service(n/2, whole[n/2].Backends[:1])
			before := processorTime()
			var samples []float64
			for change := range changesARound {
				began := time.Now()
				if err := g.change(ctx, [][]loadbalance.Service{less, whole}[change%2]); err != nil {
					return nil, err
				}
				samples = append(samples, 1e3*time.Since(began).Seconds())
			}
			cpu[which] += processorTime() - before
			took[which] = append(took[which], median(samples))
		}
		progress("round %d of %d: a change takes %.1f ms with %d services, %.1f ms with %d",
			round+1, ruleRounds, took[0][round], fewServices, took[1][round], manyServices)
	}
	var found []figure
	for i, n := range []int{fewServices, manyServices} {
		f := medianFigure(fmt.Sprintf("change of one backend with %d services", n), "ms", 0, took[i])
		f.CPU = cpu[i] / (ruleRounds * changesARound)
		f.Note = join(f.Note, fmt.Sprintf("%.1f ms of processor each", 1e3*f.CPU))
		found = append(found, f)
	}
	ratio := figure{Name: "change with many services, by that with few", Unit: "×", Value: found[1].Value / found[0].Value, Target: new(2.0)}
	for i := range took[0] {
		ratio.Samples = append(ratio.Samples, took[1][i]/took[0][i])
	}
	return append(found, ratio), nil
}

// processorTime is that of this process and of the ones that it started and that have ended.
func processorTime() (seconds float64) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			seconds += time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
		}
	}
	return seconds
}

// connectUnderChange counts the connections that fail while backends come and go, those of the service asked and
// those of the others.
func (g *ground) connectUnderChange(ctx context.Context) (figure, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	var asked, failed, changes atomic.Int64
	var first atomic.Pointer[error]
	done := func() bool {
		return ctx.Err() != nil || asked.Load() >= underChange && changes.Load() >= changesUnder
	}
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for !done() {
				if err := g.connect(ctx, firstPort+manyServices-1); err != nil {
					failed.Add(1)
					first.CompareAndSwap(nil, &err)
				}
				asked.Add(1)
			}
		})
	}
	turns := [][]netip.Addr{{g.backends[0]}, {g.backends[0], g.backends[1]}, {g.backends[1]}, {g.backends[1], g.backends[0]}}
	var err error
	for i := 0; !done() && err == nil; i++ {
		all := services(manyServices, turns[i/2%len(turns)]...)
		if i%2 == 1 {
			all[i%(manyServices-1)] = loadbalance.Service{Name: "gone"}
		}
		err = g.change(ctx, all)
		changes.Add(1)
		// The changes are spread over the connections.
		for !done() && err == nil && asked.Load() < changes.Load()*underChange/changesUnder {
			time.Sleep(time.Millisecond)
		}
	}
	if err != nil {
		cancel()
	}
	clients.Wait()
	f := figure{
		Name:   fmt.Sprintf("failed of %d connections during %d changes", asked.Load(), changes.Load()),
		Target: new(0.0), Value: float64(failed.Load()), Samples: []float64{float64(failed.Load())}, steady: true,
	}
	if e := first.Load(); e != nil {
		f.Note = (*e).Error()
	}
	return f, errors.Join(err, ctx.Err())
}

// connect asks a published port once.
func (g *ground) connect(ctx context.Context, port int) error {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, family, address string) (c net.Conn, err error) {
		err = g.laptop.in(func() error {
			c, err = new(net.Dialer).DialContext(ctx, family, address)
			return err
		})
		return c, err
	}}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d/", nodeAddress, port), nil)
	if err != nil {
		return err
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("answer %s", answer.Status)
	}
	return nil
}
