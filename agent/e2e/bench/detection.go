package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/piswarm/piswarm/pkg/cluster"
)

const (
	// detectionCuts is of how many power cuts the median is taken.
	detectionCuts = 10
	// detectionRest is between two of them: everyone has probed everyone a few times.
	detectionRest = 8 * time.Second
)

// detectionSizes are the sizes of the clusters, detectionLosses the shares of packets that are lost each way.
var (
	detectionSizes  = []int{3, 5}
	detectionLosses = []float64{0, 0.05, 0.2}
)

// measureDetection finds out how fast and how calm the failure detection is, beside serf as it comes, in the same
// processes on the same network. It needs no lab. length is how long nobody dies and packets are lost.
func measureDetection(ctx context.Context, length time.Duration) ([]figure, error) {
	ctx, cancel := context.WithTimeout(ctx, length+10*time.Minute)
	defer cancel()
	progress("detection: %d power cuts of bare members", detectionCuts)
	times := make([]map[string][]float64, len(detectionSizes))
	group, groupCtx := errgroup.WithContext(ctx)
	for i, size := range detectionSizes {
		group.Go(func() (err error) {
			times[i], err = cutInTurn(groupCtx, size)
			return err
		})
	}
	before := freeShare()
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var all []figure
	for i, size := range detectionSizes {
		all = append(all, speedFigures(size, times[i])...)
	}
	if free := min(before, freeShare()); free < calm {
		for i := range all {
			all[i].Busy = true
			all[i].Note = join(all[i].Note, fmt.Sprintf("machine busy, %.0f %% of it free", 100*free))
		}
	}
	progress("detection: packets are lost for %s, and nobody dies", length)
	lossy := make([][]figure, len(detectionSizes)*len(detectionLosses))
	group, groupCtx = errgroup.WithContext(ctx)
	for i, size := range detectionSizes {
		for j, loss := range detectionLosses {
			group.Go(func() (err error) {
				lossy[i*len(detectionLosses)+j], err = loseFor(groupCtx, size, loss, length)
				return err
			})
		}
	}
	err := group.Wait()
	for _, found := range lossy {
		all = append(all, found...)
	}
	for i := range all {
		all[i].judge()
	}
	return all, err
}

// cutInTurn cuts one member after the other and returns, by variant, after how many seconds the last of the others
// saw it down.
func cutInTurn(ctx context.Context, size int) (times map[string][]float64, err error) {
	r, err := newRing(ctx, size, 0)
	if err != nil {
		return nil, err
	}
	defer r.close()
	times = map[string][]float64{}
	for i := range detectionCuts {
		if err := r.whole(ctx); err != nil {
			return nil, err
		}
		// The cuts do not come in step with the probes.
		if err := rest(ctx, detectionRest+time.Duration(i)*137*time.Millisecond); err != nil {
			return nil, err
		}
		victim := i % size
		at, err := r.cut(ctx, victim)
		if err != nil {
			return nil, err
		}
		for _, variant := range []string{ours, stock} {
			seen, err := r.await(ctx, variant, r.nodes[victim].id, cluster.Down, at)
			if err != nil {
				return nil, err
			}
			times[variant] = append(times[variant], seen.Sub(at).Seconds())
		}
		if err := r.revive(ctx, victim); err != nil {
			return nil, err
		}
	}
	return times, nil
}

func speedFigures(size int, times map[string][]float64) []figure {
	name := fmt.Sprintf("detection: until the last of %d members sees a power cut", size)
	us := medianFigure(name, "s", 2, times[ours])
	them := medianFigure(name+", serf as it comes", "s", 0, times[stock])
	return []figure{us, them, {
		Name: fmt.Sprintf("detection: times faster than serf as it comes, %d members", size), Unit: "×",
		Value: them.Value / us.Value, Target: new(3.0), AtLeast: true,
	}}
}

// loseFor lets members live and packets be lost, and counts who is seen down.
func loseFor(ctx context.Context, size int, loss float64, length time.Duration) ([]figure, error) {
	r, err := newRing(ctx, size, loss)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if err := r.whole(ctx); err != nil {
		return nil, err
	}
	r.mu.Lock()
	clear(r.falls) // of the time when they found each other
	r.mu.Unlock()
	before, err := r.packetsOfAll(ctx)
	if err != nil {
		return nil, err
	}
	if err := rest(ctx, length); err != nil {
		return nil, err
	}
	after, err := r.packetsOfAll(ctx)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f := figure{
		Name:  fmt.Sprintf("detection: living members seen down in %s, %d members, %.0f %% loss each way", length, size, 100*loss),
		Value: float64(r.falls[ours]), Target: new(0.0), steady: true,
		Note: fmt.Sprintf("serf as it comes %d", r.falls[stock]),
	}
	if loss > 0 {
		return []figure{f}, nil
	}
	rate := func(variant string) float64 {
		return (after[variant] - before[variant]) / length.Seconds() / float64(size)
	}
	return []figure{f, {
		Name: fmt.Sprintf("detection: packets that an idle member receives, %d members", size), Unit: "/s", steady: true,
		Value: rate(ours), Note: fmt.Sprintf("serf as it comes %.3g", rate(stock)),
	}}, nil
}

// packetsOfAll counts what all members have received, by variant.
func (r *ring) packetsOfAll(ctx context.Context) (map[string]float64, error) {
	sums := map[string]float64{}
	for i := range r.nodes {
		for variant, port := range map[string]int{ours: oursPort, stock: stockPort} {
			n, err := r.packets(ctx, i, port)
			if err != nil {
				return nil, err
			}
			sums[variant] += n
		}
	}
	return sums, nil
}
