package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/lab"
)

// way is how the laptop's requests get to the one task.
type way struct {
	name string
	url  string
	goes []outcome
}

// measureIngress asks one task in every way, once by the node that it runs on and once by another one: by the published
// port, straight to its address, and through a proxy of each kind on the node that is asked. It does so on kept
// connections, on new ones, and with the classic tool.
func measureIngress(ctx context.Context, s *shelf) (all []figure, err error) {
	if err := s.createResponder(ctx); err != nil {
		return nil, err
	}
	tasks, err := s.tasks(ctx, "pi1", "greeters")
	if err != nil {
		return nil, err
	}
	task := tasks[0]
	names := s.names()
	other := names[(slices.Index(names, task.Node)+1)%len(names)]
	for _, place := range []struct{ node, name string }{{task.Node, "task there"}, {other, "task elsewhere"}} {
		found, err := s.comparePlace(ctx, place.node, place.name, task.Address)
		if err != nil {
			return all, err
		}
		all = append(all, found...)
	}
	return all, nil
}

// createResponder starts this program as the service's one task.
func (s *shelf) createResponder(ctx context.Context) error {
	const program = "/root/responder"
	for _, node := range s.names() {
		root, err := s.lab.Root(node)
		if err != nil {
			return err
		}
		if err := copyTo(root+program, "/proc/self/exe", 0o755); err != nil {
			return err
		}
	}
	return s.createAs(ctx, "pi1", "greeters", published, 1, cluster.Container{
		Image: "greeter", Entrypoint: []string{program, responderCommand},
		Mounts: []cluster.Mount{{Type: cluster.MountBind, Source: program, Target: program, ReadOnly: true}},
	})
}

// comparePlace measures every way by one node.
func (s *shelf) comparePlace(ctx context.Context, node, place, task string) (all []figure, err error) {
	unlock, err := s.openStraight(ctx, node, task)
	if err != nil {
		return nil, err
	}
	defer func() {
		if lockErr := unlock(); err == nil {
			err = lockErr
		}
	}()
	stop, err := s.startProxies(ctx, node, task)
	if err != nil {
		return nil, err
	}
	defer stop()
	for _, l := range []load{keepAlive, newEach, classic} {
		ways := []way{
			{name: "port", url: fmt.Sprintf("http://%s:%d/", node, published)},
			{name: "straight", url: fmt.Sprintf("http://%s:5000/", task)},
			{name: "docker-proxy", url: fmt.Sprintf("http://%s:%d/", node, dockerProxyPort)},
			{name: "nginx", url: fmt.Sprintf("http://%s:%d/", node, nginxPort)},
		}
		for round := range l.rounds {
			for i := range ways {
				which := (i + round) % len(ways)
				w := &ways[which]
				if err := s.leaveFrom(ctx, which); err != nil {
					return nil, err
				}
				r, err := l.measure(func(argv ...string) (string, error) {
					return s.on(ctx, lab.LaptopName, argv...)
				}, w.url)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", w.name, err)
				}
				w.goes = append(w.goes, r)
			}
		}
		title := l.name + ", " + place + ": "
		var rates []figure
		said := title
		for _, w := range ways {
			f := rateFigure(title+w.name, w.goes)
			said += fmt.Sprintf("%s %.0f/s ", w.name, f.Value)
			rates = append(rates, f)
		}
		progress("%s", strings.TrimSpace(said))
		all = append(all, rates...)
		for i, least := range []float64{1: 0.9, 2: 1.5, 3: 1.5} {
			if i > 0 {
				all = append(all, ratioFigure(title+"port, by "+ways[i].name, least, rates[0], rates[i]))
			}
			if i > 1 { // the bound of what a port can be
				all = append(all, ratioFigure(title+"straight, by "+ways[i].name, 0, rates[1], rates[i]))
			}
		}
	}
	return all, nil
}

// leaveFrom gives the laptop's connections source ports of their own for each way. To the task, those by the port and
// those straight to it look alike: it takes one for a late packet of the other that has just ended, and the client tries
// again only after a second. Ports are taken again soon: behind a proxy it is the client that ends a connection first.
func (s *shelf) leaveFrom(ctx context.Context, way int) error {
	first := 2000 + 15000*way
	_, err := s.on(ctx, lab.LaptopName, "sh", "-c", fmt.Sprintf("cd /proc/sys/net/ipv4 && echo %d %d > ip_local_port_range && echo 1 > tcp_tw_reuse", first, first+14999))
	return err
}

// openStraight gives the laptop a route over a node to a task's own address, and leave to use it: otherwise a published
// port is the only way. All packets but the first take the same way through the rules as those of the port. It returns what takes the leave back.
func (s *shelf) openStraight(ctx context.Context, node, task string) (unlock func() error, err error) {
	hosts := s.lab.List()
	i := slices.IndexFunc(hosts, func(h lab.Host) bool { return h.Name == node })
	if _, err := s.on(ctx, lab.LaptopName, "ip", "route", "replace", task, "via", hosts[i].Address); err != nil {
		return nil, err
	}
	leave := []string{"FORWARD", "-d", task, "-m", "conntrack", "--ctstate", "NEW", "--ctorigdst", task, "-j", "ACCEPT"}
	if _, err := s.on(ctx, node, append([]string{"iptables", "-w", "-I"}, leave...)...); err != nil {
		return nil, err
	}
	return func() error {
		_, err := s.on(ctx, node, append([]string{"iptables", "-w", "-D"}, leave...)...)
		return err
	}, nil
}
