package containers

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSharedTransfers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPulls()
		transfers := 0
		slow := func(ctx context.Context, progress func(done, total int64)) error {
			transfers++
			progress(1, 2)
			select {
			case <-time.After(time.Minute):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				if err := p.share(t.Context(), "a", nil, slow); err != nil {
					t.Error(err)
				}
			})
		}
		// One who gives up leaves the others theirs.
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		all.Go(func() {
			if err := p.share(short, "a", nil, slow); !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
		all.Wait()
		if transfers != 1 {
			t.Errorf("there were %d transfers, want 1", transfers)
		}

		// When all gave up, the transfer ends, and the next call makes a new one.
		short, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.share(short, "b", nil, slow); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		synctest.Wait()
		if len(p.flights) != 0 || len(p.slots) != 0 {
			t.Errorf("%d flights and %d slots are left", len(p.flights), len(p.slots))
		}
		if err := p.share(t.Context(), "b", nil, slow); err != nil || transfers != 3 {
			t.Errorf("error %v after %d transfers", err, transfers)
		}
	})
}

// Who joined a transfer that fails has a go with its own sources.
func TestJoinedFailureIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPulls()
		broken := errors.New("broken")
		var all sync.WaitGroup
		all.Go(func() {
			err := p.share(t.Context(), "a", nil, func(context.Context, func(int64, int64)) error {
				time.Sleep(time.Second)
				return broken
			})
			if !errors.Is(err, broken) {
				t.Error(err)
			}
		})
		synctest.Wait()
		if err := p.share(t.Context(), "a", nil, func(context.Context, func(int64, int64)) error { return nil }); err != nil {
			t.Error(err)
		}
		all.Wait()
	})
}

func TestStalledTransferGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		p := &patience{next: silentServer{}, once: true, got: new(atomic.Uint64)}
		for range 2 {
			if _, err := p.RoundTrip(request(t)); err == nil {
				t.Fatal("no error")
			}
		}
		// The second one does not wait.
		if took := time.Since(begun); took != answerLimit {
			t.Errorf("gave up after %s, want %s", took, answerLimit)
		}
	})
}

// silentServer never answers.
type silentServer struct{}

func (silentServer) RoundTrip(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

func request(t *testing.T) *http.Request {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://peer/v2/", nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}
