package dashboard

import (
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/dashboard/browsertest"
)

// The figures here are of 100 nodes and 1,000 tasks. `make bench` prints them.

// BenchmarkLook is what a look at the cluster costs, the API's part included.
func BenchmarkLook(b *testing.B) {
	p := open(b, newShelf(100, 20, 1000), true)
	for b.Loop() {
		if _, err := look(b.Context(), p.cfg.Client); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBetween is what finding out and writing down one change costs.
func BenchmarkBetween(b *testing.B) {
	s := newShelf(100, 20, 1000)
	p := open(b, s, true)
	from, err := look(b.Context(), p.cfg.Client)
	if err != nil {
		b.Fatal(err)
	}
	s.move("task00001", "node0050")
	to, err := look(b.Context(), p.cfg.Client)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		between(from, to).encoded()
	}
}

// BenchmarkViewers is which share of a core the page takes while three look and a task moves each second: at most 1 % is
// wanted. The API's part is in it, and the reading of the three.
func BenchmarkViewers(b *testing.B) {
	s := newShelf(100, 20, 1000)
	p := open(b, s, true)
	var read atomic.Int64
	for range 3 {
		answer := do(b, browser{page: p}.request(b, "GET", "/api/stream", ""))
		b.Cleanup(func() { answer.Body.Close() })
		go func() {
			buf := make([]byte, 64<<10)
			for {
				n, err := answer.Body.Read(buf)
				read.Add(int64(n))
				if err != nil {
					return
				}
			}
		}()
	}
	change := func(begun time.Time, d time.Duration) {
		for i := 0; time.Since(begun) < d; i++ {
			s.move("task00001", fmt.Sprintf("node%04d", 1+i%100))
			time.Sleep(time.Second)
		}
	}
	change(time.Now(), 15*time.Second) // until no quiet time is left to draw on
	for b.Loop() {
		begun, used, sofar := time.Now(), processorTime(b), read.Load()
		change(begun, 20*time.Second)
		b.ReportMetric(100*(processorTime(b)-used).Seconds()/time.Since(begun).Seconds(), "%core")
		if read.Load() == sofar {
			b.Fatal("nothing was told")
		}
	}
}

func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkDrawing is how many milliseconds a browser takes from a change's message to the pixels: the page's script, and
// the styles and the layout that it makes the browser do anew. At most 100 are wanted.
func BenchmarkDrawing(b *testing.B) {
	for _, bench := range []struct {
		name   string
		change func(b *browsertest.Browser, s *shelf)
	}{
		{"task moves", func(b *browsertest.Browser, s *shelf) {
			for i := range 10 {
				moveOne(b, s, fmt.Sprintf("node%04d", 2+i))
			}
		}},
		{"node with ten goes", moveTen},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				s := newShelf(100, 20, 1000)
				page := crowdedPage(b, s)
				browsertest.Eval[bool](page, `(window.took = [], window.apply = ((apply) => (d) => {
					const begun = performance.now();
					apply(d);
					document.body.offsetHeight;
					window.took.push(performance.now() - begun);
				})(window.apply), true)`)
				bench.change(page, s)
				took := browsertest.Eval[[]float64](page, `window.took`)
				if len(took) == 0 {
					b.Fatal("no change was measured")
				}
				b.ReportMetric(slices.Max(took), "worst-ms")
			}
		})
	}
}
