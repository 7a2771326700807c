package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/lab"
)

// published is the port of the service that is measured.
const published = 9000

// shelf is the lab under measurement, with the greeter image on each Pi.
type shelf struct {
	lab   *lab.Lab
	nodes int    // how many Pis there are
	image string // path of the greeter's archive
	// proxies is the directory of the programs that a published port is compared with.
	proxies string
}

func newShelf(ctx context.Context, build, token string, nodes int) (*shelf, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	l, err := lab.Start(ctx, lab.Options{Nodes: nodes, Binary: filepath.Join(build, "piswarm"), Token: token})
	if err != nil {
		return nil, err
	}
	s := &shelf{lab: l, nodes: nodes, image: filepath.Join(build, "greeter.tar"), proxies: filepath.Join(build, "proxies")}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *shelf) close() error { return s.lab.Close() }

// prepare waits for one cluster and gives every node the image, so that no figure contains its transport.
func (s *shelf) prepare(ctx context.Context) error {
	if err := s.awaitReady(ctx); err != nil {
		return err
	}
	for _, node := range s.names() {
		tar, err := os.Open(s.image)
		if err != nil {
			return err
		}
		err = s.ask(node, func(c *client.Client) error {
			_, err := c.LoadImages(ctx, tar, nil)
			return err
		})
		tar.Close()
		if err != nil {
			return fmt.Errorf("load the greeter on %s: %w", node, err)
		}
	}
	return nil
}

// names are the Pis.
func (s *shelf) names() (all []string) {
	for _, h := range s.lab.List() {
		if h.Name != lab.LaptopName {
			all = append(all, h.Name)
		}
	}
	return all
}

// ask calls the agent of a node over its socket, which this machine reaches through the node's root directory.
func (s *shelf) ask(node string, f func(*client.Client) error) error {
	root, err := s.lab.Root(node)
	if err != nil {
		return err
	}
	c, err := client.New("unix://" + root + "/run/piswarm/piswarm.sock")
	if err != nil {
		return err
	}
	defer c.Close()
	return f(c)
}

func (s *shelf) status(ctx context.Context, node string) (st client.Status, err error) {
	err = s.ask(node, func(c *client.Client) error {
		st, err = c.Status(ctx)
		return err
	})
	return st, err
}

func (s *shelf) tasks(ctx context.Context, node, service string) (all []client.Task, err error) {
	err = s.ask(node, func(c *client.Client) error {
		all, err = c.Tasks(ctx, service)
		return err
	})
	return all, err
}

func (s *shelf) awaitReady(ctx context.Context) error {
	for _, node := range s.names() {
		err := poll(ctx, time.Minute, node+" sees every node ready", func() bool {
			st, err := s.status(ctx, node)
			if err != nil || len(st.Nodes) != s.nodes {
				return false
			}
			for _, n := range st.Nodes {
				if n.State != cluster.Ready || n.Arch == "" {
					return false
				}
			}
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// create makes a greeter service and waits until every node answers for all of its tasks.
func (s *shelf) create(ctx context.Context, node, name string, port uint16, replicas int) error {
	return s.createAs(ctx, node, name, port, replicas, cluster.Container{Image: "greeter"})
}

// createAs is create with another program than the greeter's, that greets like it.
func (s *shelf) createAs(ctx context.Context, node, name string, port uint16, replicas int, container cluster.Container) error {
	err := s.ask(node, func(c *client.Client) error {
		_, err := c.CreateService(ctx, cluster.Spec{
			Name: name, Mode: cluster.Replicated, Replicas: replicas,
			Container: container,
			Placement: cluster.Placement{Strategy: cluster.Spread},
			Ports:     []cluster.Port{{Published: port, Target: 5000, Protocol: cluster.TCP, Mode: cluster.PortIngress}},
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	return s.settled(ctx, port, replicas)
}

// settled waits until a port of every node leads to so many different hosts and to no other.
func (s *shelf) settled(ctx context.Context, port uint16, replicas int) error {
	for _, node := range s.names() {
		err := poll(ctx, time.Minute, fmt.Sprintf("%s answers for %d tasks", node, replicas), func() bool {
			hosts := map[string]int{}
			for range 2 * replicas {
				host, err := s.greet(ctx, node, port)
				if err != nil {
					return false
				}
				hosts[host]++
			}
			for _, n := range hosts {
				if n != 2 {
					return false
				}
			}
			return len(hosts) == replicas
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// clear removes every service and waits until nothing of them runs.
func (s *shelf) clear(ctx context.Context) error {
	node := s.names()[0]
	st, err := s.status(ctx, node)
	if err != nil {
		return err
	}
	for _, service := range st.Services {
		err := s.ask(node, func(c *client.Client) error {
			_, err := c.RemoveService(ctx, service.Name)
			return err
		})
		if err != nil {
			return err
		}
	}
	return poll(ctx, time.Minute, "no task is left", func() bool {
		all, err := s.tasks(ctx, node, "")
		return err == nil && len(all) == 0
	})
}

// greet asks a node's port from the laptop, by a connection of its own, and returns the host that answered.
func (s *shelf) greet(ctx context.Context, node string, port uint16) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return s.lab.Dial(ctx, lab.LaptopName, network, address)
		},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d/", node, port), nil)
	if err != nil {
		return "", err
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(body))
	host, ok := strings.CutPrefix(text, "Hello, Docker world from ")
	if !ok || answer.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s answered %s %q", node, answer.Status, text)
	}
	return strings.TrimSuffix(host, "."), nil
}

// on runs a command on a host and returns what it printed.
func (s *shelf) on(ctx context.Context, host string, argv ...string) (string, error) {
	var out, errs strings.Builder
	code, err := s.lab.Exec(ctx, host, argv, lab.Stdio{Out: &out, Err: &errs})
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d: %s%s", code, out.String(), errs.String())
	}
	if err != nil {
		return "", fmt.Errorf("%s on %s: %w", strings.Join(argv, " "), host, err)
	}
	return out.String(), nil
}

// poll looks often until something is so.
func poll(ctx context.Context, limit time.Duration, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within %s: %s", limit, what))
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}
