package containers

import (
	"context"
	"sync"
)

// maxPulls is how many images are fetched at once. Two fill the network of a Pi, more only fill its memory.
const maxPulls = 2

// pulls makes one transfer of all concurrent calls for the same image.
type pulls struct {
	slots chan struct{}
	mu    *sync.Mutex
	// flights are the transfers under way, by digest.
	flights map[string]*flight
}

// flight is one transfer that several callers wait for.
type flight struct {
	done     chan struct{} // closed at the end, after err is set
	err      error
	cancel   context.CancelFunc // for when the last of them gave up
	waiting  int
	progress map[int]func(done, total int64)
	joined   int
}

func newPulls() pulls {
	return pulls{slots: make(chan struct{}, maxPulls), mu: new(sync.Mutex), flights: map[string]*flight{}}
}

// share runs transfer, or waits for the one of the same key that is under way. It ends early when ctx is done; the
// transfer itself ends early when that is so for all who wait for it. A call that joined a transfer which failed
// makes its own: it may know other sources.
func (p *pulls) share(ctx context.Context, key string, progress func(done, total int64), transfer func(context.Context, func(done, total int64)) error) error {
	f, joined := p.board(ctx, key, progress, transfer)
	err := p.wait(ctx, f)
	if err != nil && joined && ctx.Err() == nil {
		f, _ = p.board(ctx, key, progress, transfer)
		err = p.wait(ctx, f)
	}
	return err
}

type seat struct {
	*flight
	number int
}

func (p *pulls) board(ctx context.Context, key string, progress func(done, total int64), transfer func(context.Context, func(done, total int64)) error) (seat, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, joined := p.flights[key]
	if !joined {
		f = &flight{done: make(chan struct{}), progress: map[int]func(done, total int64){}}
		flightCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f.cancel = cancel
		p.flights[key] = f
		go p.fly(flightCtx, key, f, transfer)
	}
	f.waiting++
	f.joined++
	if progress != nil {
		f.progress[f.joined] = progress
	}
	return seat{f, f.joined}, joined
}

func (p *pulls) fly(ctx context.Context, key string, f *flight, transfer func(context.Context, func(done, total int64)) error) {
	defer f.cancel()
	var err error
	select {
	case p.slots <- struct{}{}:
		err = transfer(ctx, func(done, total int64) {
			p.mu.Lock()
			defer p.mu.Unlock()
			for _, progress := range f.progress {
				progress(done, total)
			}
		})
		<-p.slots
	case <-ctx.Done():
		err = ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.flights[key] == f {
		delete(p.flights, key)
	}
	f.err = err
	close(f.done)
}

func (p *pulls) wait(ctx context.Context, s seat) error {
	var err error
	select {
	case <-s.done:
		err = s.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(s.progress, s.number)
	if s.waiting--; s.waiting == 0 {
		// Nobody may join a transfer that is being given up.
		for key, f := range p.flights {
			if f == s.flight {
				delete(p.flights, key)
			}
		}
		s.cancel()
	}
	return err
}
