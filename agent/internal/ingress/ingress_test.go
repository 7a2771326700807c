package ingress

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/agent/internal/dns"
	"github.com/piswarm/piswarm/agent/internal/network"
	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/loadbalance"
)

// node is everything that the ingress drives. Each call is noted, and fails if the test says so.
type node struct {
	calls   []string
	fail    map[string]error
	flushed []network.Backend
	ended   []netip.Addr
	unled   []uint16
	swept   map[netip.Addr]bool
	damaged bool // somebody took rules away
	names   []dns.Service
}

func (n *node) call(name string) error {
	n.calls = append(n.calls, name)
	return n.fail[name]
}

type wires struct{ *node }

func (n wires) Apply(context.Context, network.Wanted) error { return n.call("network") }
func (n wires) Tune(context.Context, string) error          { return n.call("tune") }
func (n wires) FlushConntrack(_ context.Context, gone []network.Backend) error {
	n.flushed = gone
	return n.call("flush")
}

func (n wires) FlushFinished(_ context.Context, ending []netip.Addr) error {
	n.ended = append(n.ended, ending...)
	return n.call("finished")
}

func (n wires) FlushUnled(_ context.Context, ports []uint16) error {
	n.unled = append(n.unled, ports...)
	return n.call("unled")
}

func (n wires) SweepConntrack(_ context.Context, pool netip.Prefix, live map[netip.Addr]bool) error {
	n.swept = live
	return n.call("sweep")
}

type filter struct{ *node }

func (n filter) Apply(context.Context, loadbalance.Ruleset) error { return n.call("firewall") }

func (n filter) Repair(context.Context) (bool, error) {
	damaged := n.damaged
	n.damaged = false
	return damaged, n.fail["repair"]
}

func (n *node) Set(s []dns.Service) { n.names = s }

func build(t *testing.T, v *view.View) (*Ingress, *node) {
	n := &node{fail: map[string]error{}}
	place := here(t)
	return New(Config{
		View: func() view.View { return *v }, Place: func() Place { return place },
		Network: wires{n}, Firewall: filter{n}, Names: n, Log: slog.New(slog.DiscardHandler),
	}), n
}

// pass runs one pass and returns the calls that it made.
func pass(i *Ingress, n *node) ([]string, error) {
	n.calls, n.flushed, n.ended, n.unled = nil, nil, nil, nil
	err := i.pass(context.Background())
	return n.calls, err
}

func ready(i *Ingress) bool {
	select {
	case <-i.Ready():
		return true
	default:
		return false
	}
}

func TestPassAppliesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := shelf()
		i, n := build(t, &v)
		if calls, err := pass(i, n); err != nil || !slices.Equal(calls, []string{"network", "firewall", "sweep", "tune"}) || !ready(i) {
			t.Errorf("first pass: %v %v, ready %t", calls, err, ready(i))
		}
		if len(n.names) != 1 || len(n.names[0].Tasks) != 3 {
			t.Errorf("names: %v", n.names)
		}
		// The firewall compares for itself; routes are looked at only now and then, when the rules are done.
		if calls, err := pass(i, n); err != nil || !slices.Equal(calls, []string{"firewall"}) {
			t.Errorf("second pass: %v %v", calls, err)
		}
		time.Sleep(resync)
		if calls, err := pass(i, n); err != nil || !slices.Equal(calls, []string{"firewall", "network"}) {
			t.Errorf("later: %v %v", calls, err)
		}
		describe(v, "n3", func(d *cluster.Description) { d.Subnet = "10.77.9.0/24" })
		if calls, _ := pass(i, n); !slices.Equal(calls, []string{"network", "firewall"}) {
			t.Errorf("a peer that moved: %v", calls)
		}
	})
}

// What failed half way may have changed something: even the former wish has to be applied again.
func TestPassAppliesTheFormerAfterAnError(t *testing.T) {
	v := shelf()
	i, n := build(t, &v)
	if _, err := pass(i, n); err != nil {
		t.Fatal(err)
	}
	former := v.Reports["n3"].Node.Subnet
	describe(v, "n3", func(d *cluster.Description) { d.Subnet = "10.77.9.0/24" })
	n.fail["network"] = errors.New("broken")
	if _, err := pass(i, n); err == nil {
		t.Error("no error")
	}
	n.fail["network"] = nil
	describe(v, "n3", func(d *cluster.Description) { d.Subnet = former })
	if calls, err := pass(i, n); err != nil || !slices.Contains(calls, "network") {
		t.Errorf("calls %v, error %v", calls, err)
	}
}

// A node that dies changes no route: the rules are changed before anything else is done.
func TestPassChangesTheRulesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := shelf()
		i, n := build(t, &v)
		if _, err := pass(i, n); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		v.Members[1].Condition = cluster.Down
		if calls, err := pass(i, n); err != nil || !slices.Equal(calls, []string{"firewall", "flush", "network"}) {
			t.Errorf("calls %v, error %v", calls, err)
		}
	})
}

// What fails is tried again, and keeps nothing else from being done.
func TestPassTriesAgain(t *testing.T) {
	for what, test := range map[string]struct {
		calls []string // of a pass in which it fails
		ready bool
	}{
		"network":  {[]string{"network", "firewall", "sweep", "tune"}, false},
		"firewall": {[]string{"network", "firewall"}, false},
		"sweep":    {[]string{"network", "firewall", "sweep", "tune"}, true},
		"tune":     {[]string{"network", "firewall", "sweep", "tune"}, true},
		"repair":   {[]string{"network", "firewall", "sweep", "tune"}, true},
	} {
		t.Run(what, func(t *testing.T) {
			v := shelf()
			i, n := build(t, &v)
			n.fail[what] = errors.New("broken")
			if calls, err := pass(i, n); !errors.Is(err, n.fail[what]) || !slices.Equal(calls, test.calls) {
				t.Errorf("calls %v, error %v", calls, err)
			}
			if len(n.names) != 1 {
				t.Error("names were not set")
			}
			if _, closed := <-readyNow(i); closed != test.ready {
				t.Errorf("ready: %t, want %t", closed, test.ready)
			}
			if calls, err := pass(i, n); !errors.Is(err, n.fail[what]) || what != "repair" && !slices.Contains(calls, what) {
				t.Errorf("again: calls %v, error %v", calls, err)
			}
			n.fail[what] = nil
			if calls, err := pass(i, n); err != nil || what != "repair" && !slices.Contains(calls, what) || !ready(i) {
				t.Errorf("at last: calls %v, error %v, ready %t", calls, err, ready(i))
			}
		})
	}
}

func TestSaysThatRulesWereTakenAway(t *testing.T) {
	v := shelf()
	i, n := build(t, &v)
	var log bytes.Buffer
	i.cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
	if _, err := pass(i, n); err != nil || log.Len() > 0 {
		t.Errorf("error %v, log %s", err, &log)
	}
	n.damaged = true
	if _, err := pass(i, n); err != nil || strings.Count(log.String(), "they are back") != 1 {
		t.Errorf("error %v, log %s", err, &log)
	}
}

// What went while no agent was there is forgotten once, as soon as every ready node has told what it runs.
func TestSweepsOnce(t *testing.T) {
	v := shelf()
	i, n := build(t, &v)
	silent := v.Reports["n3"]
	delete(v.Reports, "n3")
	if calls, err := pass(i, n); err != nil || slices.Contains(calls, "sweep") {
		t.Errorf("before n3 has told: %v, %v", calls, err)
	}
	v.Reports["n3"] = silent
	if calls, err := pass(i, n); err != nil || !slices.Contains(calls, "sweep") {
		t.Errorf("when n3 has told: %v, %v", calls, err)
	}
	want := map[netip.Addr]bool{}
	for _, a := range []string{"10.77.1.1", "10.77.1.2", "10.77.2.1", "10.77.2.2", "10.77.3.1", "10.77.3.2"} {
		want[netip.MustParseAddr(a)] = true
	}
	if !maps.Equal(n.swept, want) {
		t.Errorf("live are %v, want %v", n.swept, want)
	}
	if calls, err := pass(i, n); err != nil || slices.Contains(calls, "sweep") {
		t.Errorf("afterwards: %v, %v", calls, err)
	}
}

// readyNow delivers something if the ingress is ready, and is closed.
func readyNow(i *Ingress) <-chan bool {
	c := make(chan bool, 1)
	if ready(i) {
		c <- true
	}
	close(c)
	return c
}

func TestForgetsConnections(t *testing.T) {
	udp := cluster.Port{Published: 53, Target: 5353, Protocol: cluster.UDP, Mode: cluster.PortIngress}
	whole := func(a string) network.Backend {
		return network.Backend{Address: netip.AddrPortFrom(netip.MustParseAddr(a), 0)}
	}
	for name, test := range map[string]struct {
		change func(v *view.View)
		want   []network.Backend
	}{
		"nothing changed":       {func(*view.View) {}, nil},
		"a task has no trace":   {func(v *view.View) { v.Reports["n2"] = cluster.Report{Node: v.Reports["n2"].Node} }, []network.Backend{whole("10.77.2.2")}},
		"a node is down":        {func(v *view.View) { v.Members[1].Condition = cluster.Down }, []network.Backend{whole("10.77.2.2")}},
		"one is being stopped":  {func(v *view.View) { status(*v, "n2", func(s *cluster.TaskStatus) { s.State = cluster.Stopping }) }, []network.Backend{{Address: netip.MustParseAddrPort("10.77.2.2:5353"), Protocol: cluster.UDP}}},
		"its plan is gone":      {func(v *view.View) { v.Plans["web"] = cluster.Plan{ServiceID: "a", Tasks: v.Plans["web"].Tasks[:2]} }, []network.Backend{{Address: netip.MustParseAddrPort("10.77.3.2:5353"), Protocol: cluster.UDP}}},
		"another service comes": {func(v *view.View) { add(v, "app", "b", cluster.Port{Published: 81, Target: 81, Protocol: cluster.UDP}) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := shelf()
			v.Services[0].Spec.Ports = append(v.Services[0].Spec.Ports, udp)
			i, n := build(t, &v)
			if _, err := pass(i, n); err != nil || n.flushed != nil {
				t.Fatalf("at the start: %v, forgot %v", err, n.flushed)
			}
			test.change(&v)
			n.fail["flush"] = errors.New("broken")
			_, err := pass(i, n)
			if !slices.Equal(n.flushed, test.want) || (err != nil) != (len(test.want) > 0) {
				t.Errorf("forgot %v (%v), want %v", n.flushed, err, test.want)
			}
			n.fail["flush"] = nil
			if _, err := pass(i, n); err != nil || !slices.Equal(n.flushed, test.want) {
				t.Errorf("after an error it forgot %v (%v)", n.flushed, err)
			}
			if _, err := pass(i, n); err != nil || n.flushed != nil {
				t.Errorf("forgot twice: %v", n.flushed)
			}
		})
	}
}

// TestForgetsEndedConnections holds that a client which takes a port again is not led to a listener that closes: at once
// when the task begins to end, and, for the connections that end later, again as long as it does.
func TestForgetsEndedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := shelf()
		i, n := build(t, &v)
		if _, err := pass(i, n); err != nil || n.ended != nil {
			t.Fatalf("at the start: %v, forgot %v", err, n.ended)
		}
		status(v, "n2", func(s *cluster.TaskStatus) { s.State = cluster.Stopping })
		want := []netip.Addr{netip.MustParseAddr("10.77.2.2")}
		n.fail["firewall"] = errors.New("broken")
		if _, err := pass(i, n); err == nil || n.ended != nil {
			t.Errorf("while the rules still lead there it forgot %v (%v)", n.ended, err)
		}
		n.fail["firewall"], n.fail["finished"] = nil, errors.New("broken")
		for range 2 { // the second time because the first one failed
			if _, err := pass(i, n); !slices.Equal(n.ended, want) {
				t.Errorf("forgot %v (%v), want %v", n.ended, err, want)
			}
			n.fail["finished"] = nil
		}
		if _, err := pass(i, n); err != nil || n.ended != nil {
			t.Errorf("forgot again: %v (%v)", n.ended, err)
		}
		for range 2 {
			time.Sleep(forgetEvery)
			synctest.Wait()
			select {
			case <-i.again:
			default:
				t.Fatal("nothing wakes the loop to forget again")
			}
			if _, err := pass(i, n); err != nil || !slices.Equal(n.ended, want) {
				t.Errorf("later it forgot %v (%v), want %v", n.ended, err, want)
			}
		}
		v.Reports["n2"] = cluster.Report{Node: v.Reports["n2"].Node}
		if _, err := pass(i, n); err != nil || n.ended != nil {
			t.Errorf("it is gone, and it forgot %v (%v)", n.ended, err)
		}
		<-i.again // set before it went
		time.Sleep(time.Minute)
		synctest.Wait()
		select {
		case <-i.again:
			t.Error("nothing ends, and the loop is woken")
		default:
		}
	})
}

// Whoever kept sending datagrams to a port that led nowhere is led on once it leads somewhere.
func TestForgetsDatagramsThatWereLedNowhere(t *testing.T) {
	v := shelf()
	v.Services[0].Spec.Ports = append(v.Services[0].Spec.Ports,
		cluster.Port{Published: 53, Target: 5353, Protocol: cluster.UDP, Mode: cluster.PortHost})
	status(v, "n1", func(s *cluster.TaskStatus) { s.State = cluster.Starting })
	i, n := build(t, &v)
	expect := func(what string, want ...uint16) {
		t.Helper()
		_, err := pass(i, n)
		broken := n.fail["firewall"] != nil || n.fail["unled"] != nil
		if !slices.Equal(n.unled, want) || (err != nil) != broken {
			t.Errorf("%s: forgot %v (%v), want %v", what, n.unled, err, want)
		}
	}
	expect("no task is ready")
	status(v, "n1", func(s *cluster.TaskStatus) { s.State = cluster.Running })
	n.fail["firewall"] = errors.New("broken")
	expect("the rules do not lead there yet")
	n.fail["firewall"], n.fail["unled"] = nil, errors.New("broken")
	expect("now they do", 53)
	n.fail["unled"] = nil
	expect("it failed", 53)
	expect("nothing changed")
	status(v, "n1", func(s *cluster.TaskStatus) { s.State = cluster.Unhealthy })
	expect("the task is gone")
	status(v, "n1", func(s *cluster.TaskStatus) { s.State = cluster.Running })
	expect("it is back", 53)
}
