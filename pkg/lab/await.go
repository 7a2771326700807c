package lab

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

const (
	containerdSocket = "/run/containerd/containerd.sock"
	agentSocket      = "/run/piswarm/piswarm.sock"
	pollEvery        = 20 * time.Millisecond
)

// awaitServices waits until containerd and the agent of a Pi answer.
func (h *host) awaitServices(ctx context.Context) error {
	if err := h.awaitService(ctx, "containerd", h.dialContainerd); err != nil {
		return err
	}
	return h.awaitService(ctx, "agent", h.askAgent)
}

// awaitService polls: the socket of a program that is just starting gives no notice.
func (h *host) awaitService(ctx context.Context, name string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, h.lab.opt.serviceWait)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		m := h.machine()
		if m == nil {
			return fmt.Errorf("it went off while %s started%s", name, h.tail("init"))
		}
		err := ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-m.dead:
		case <-tick.C:
		case <-ctx.Done():
			if context.Cause(ctx) == context.Canceled {
				return ctx.Err()
			}
			return fmt.Errorf("%s does not answer after %s: %w%s", name, h.lab.opt.serviceWait, err, h.tail(name))
		}
	}
}

func (h *host) dialContainerd(ctx context.Context) error {
	conn, err := h.dialSocket(ctx, containerdSocket)
	if err != nil {
		return err
	}
	return conn.Close()
}

// askAgent takes any answer: what the agent says is its own business.
func (h *host) askAgent(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return h.dialSocket(ctx, agentSocket) },
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://piswarm/v1/status", nil)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// dialSocket reaches a unix socket through the file system of the host.
func (h *host) dialSocket(ctx context.Context, path string) (net.Conn, error) {
	root, err := h.lab.Root(h.name)
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, "unix", root+path)
}
