package e2e

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// healed is what is promised after a partition: the same state everywhere, and every port of every node answers.
const healed = 5 * time.Second

// TestFive: one of five loses its power, then the five fall into two and three.
func TestFive(t *testing.T) {
	together(t)
	s := newShelf(t, 5)
	s.load("pi1")
	t.Run("cut under load", func(t *testing.T) { s.fresh(t, 5).cutUnderLoad(5) })
	t.Run("two and three", func(t *testing.T) { s.fresh(t, 5).twoAndThree() })
}

// floor watches from one node that never less than the wanted number of a service's tasks runs.
type floor struct {
	stop chan struct{}
	done sync.WaitGroup
	min  int
}

func (s *shelf) floor(node, service string) *floor {
	f := &floor{stop: make(chan struct{}), min: 1 << 20}
	f.done.Go(func() {
		for tick := time.NewTicker(100 * time.Millisecond); ; {
			select {
			case <-f.stop:
				return
			case <-tick.C:
				if all := s.seen(node, service); all != nil {
					f.min = min(f.min, countRunning(all))
				}
			}
		}
	})
	return f
}

func (f *floor) least() int {
	close(f.stop)
	f.done.Wait()
	return f.min
}

func (s *shelf) twoAndThree() {
	small, large := []string{"pi1", "pi2"}, []string{"pi3", "pi4", "pi5"}
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 5 greeter")
	s.piswarm("pi2", "create --name once --publish 9001:5000 --replicas 5 --on-partition stop greeter")
	s.answering(20*time.Second, "before", pis(5), 9000, 5)
	s.answering(20*time.Second, "before", pis(5), 9001, 5)
	for range rounds(1, 5) {
		if err := s.lab.Split(small, large); err != nil {
			s.t.Fatal(err)
		}
		began := time.Now()
		for _, side := range [][]string{small, large} {
			s.eventually(20*time.Second, side[0]+"'s side runs all greeters by itself", func() bool {
				n := 0
				for _, t := range s.seen(side[0], "greeters") {
					if t.State == cluster.Running && slices.Contains(side, t.Node) {
						n++
					}
				}
				return n >= 5
			})
			s.answering(10*time.Second, "on "+side[0]+"'s side", side, 9000, 5)
		}
		s.eventually(20*time.Second, "the larger side runs all of the service that stops on the smaller", func() bool {
			n := 0
			for _, t := range s.seen("pi3", "once") {
				if t.State == cluster.Running && slices.Contains(large, t.Node) {
					n++
				}
			}
			return n >= 5
		})
		s.eventually(30*time.Second, "the smaller side runs none of it", func() bool {
			return s.containers("pi1", "once")+s.containers("pi2", "once") == 0
		})
		// What is written on both sides is settled when they meet.
		s.piswarm("pi1", "create -d --name small --replicas 1 greeter")
		s.piswarm("pi3", "create -d --name large --replicas 1 greeter")
		time.Sleep(max(0, span(12*time.Second, 30*time.Second)-time.Since(began)))

		greeters, once := s.floor("pi3", "greeters"), s.floor("pi3", "once")
		k := s.knock("pi3:9000", "pi3:9001")
		if err := s.lab.Unsplit(); err != nil {
			s.t.Fatal(err)
		}
		s.whole("2+3 healed", pis(5), map[string]int{"greeters": 5, "once": 5, "small": 1, "large": 1}, map[int]int{9000: 5, 9001: 5})
		if n := greeters.least(); n < 5 {
			s.t.Errorf("only %d of 5 greeters ran while the halves healed", n)
		}
		if n := once.least(); n < 5 {
			s.t.Errorf("only %d of 5 tasks of the service that stops ran while the halves healed", n)
		}
		k.wantNone("healing of 2+3, asked at pi3")
		s.piswarm("pi1", "rm small large")
	}
}

// containers counts the containers of a service that run on a node, whatever the cluster says.
func (s *shelf) containers(node, service string) (n int) {
	for _, t := range s.seen(node, service) {
		if t.Node == node && slices.Contains([]cluster.State{cluster.Running, cluster.Starting, cluster.Stopping, cluster.Unhealthy}, t.State) {
			n++
		}
	}
	return n
}

// whole checks all that is promised after a partition: state and ports at once, exact counts when what is surplus has
// ended.
func (s *shelf) whole(what string, nodes []string, services map[string]int, ports map[int]int) {
	s.t.Helper()
	began := time.Now()
	s.alike(healed, what, nodes)
	for port, tasks := range ports {
		for _, n := range nodes {
			s.eventually(max(healed-time.Since(began), time.Second), fmt.Sprintf("%s: port %d of %s answers", what, port, n), func() bool {
				_, err := s.greet(s.t.Context(), fmt.Sprintf("%s:%d", n, port))
				return err == nil
			})
		}
		defer s.answering(20*time.Second, what, nodes, port, tasks)
	}
	for service, tasks := range services {
		for _, n := range nodes {
			s.eventually(30*time.Second, fmt.Sprintf("%s: %s sees exactly %d of %s", what, n, tasks, service), func() bool {
				return s.exactly(n, service, tasks)
			})
		}
	}
	s.t.Logf("%s: exact counts after %.1f s", what, time.Since(began).Seconds())
	s.alike(healed, what+", settled", nodes)
}

// TestTwo: two nodes lose each other, and the cable of one is loose.
func TestTwo(t *testing.T) {
	together(t)
	s := newShelf(t, 2)
	s.load("pi1")
	t.Run("one and one", func(t *testing.T) { s.fresh(t, 2).oneAndOne() })
	t.Run("flapping link", func(t *testing.T) { s.fresh(t, 2).flapping() })
}

func (s *shelf) oneAndOne() {
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 4 greeter")
	s.answering(20*time.Second, "before", pis(2), 9000, 4)
	for range rounds(1, 5) {
		if err := s.lab.Split([]string{"pi1"}, []string{"pi2"}); err != nil {
			s.t.Fatal(err)
		}
		began := time.Now()
		for _, n := range pis(2) {
			s.eventually(20*time.Second, n+" runs all by itself", func() bool {
				all := s.seen(n, "greeters")
				return len(all) >= 4 && !slices.ContainsFunc(all, func(t client.Task) bool { return t.Node == n && t.State != cluster.Running })
			})
			s.answering(15*time.Second, n+" alone", []string{n}, 9000, 4)
		}
		time.Sleep(max(0, span(12*time.Second, 30*time.Second)-time.Since(began)))
		f := s.floor("pi1", "greeters")
		k := s.knock("pi1:9000", "pi2:9000")
		if err := s.lab.Unsplit(); err != nil {
			s.t.Fatal(err)
		}
		s.whole("1+1 healed", pis(2), map[string]int{"greeters": 4}, map[int]int{9000: 4})
		if n := f.least(); n < 4 {
			s.t.Errorf("only %d of 4 greeters ran while the two healed", n)
		}
		k.wantNone("healing of 1+1")
	}
}

// flapping: a cable that comes and goes every 3 s.
func (s *shelf) flapping() {
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 --replicas 4 greeter")
	s.answering(20*time.Second, "before", pis(2), 9000, 4)
	f := s.floor("pi1", "greeters")
	for end := time.Now().Add(span(20*time.Second, time.Minute)); time.Now().Before(end); {
		for _, change := range []func(string) error{s.lab.Cut, s.lab.Heal} {
			if err := change("pi2"); err != nil {
				s.t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
		}
	}
	if n := f.least(); n < 1 {
		s.t.Errorf("pi1 ran %d greeters at one time", n)
	}
	s.eventually(5*time.Second, "all greeters run", func() bool { return countRunning(s.seen("pi1", "greeters")) >= 4 })
	f = s.floor("pi1", "greeters")
	s.whole("the cable is fixed", pis(2), map[string]int{"greeters": 4}, map[int]int{9000: 4})
	if n := f.least(); n < 4 {
		s.t.Errorf("only %d of 4 greeters ran while the surplus ended", n)
	}
}
