package worker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// begin runs a step beside the loop. The lock is held by the caller; the step takes it where it needs it.
func (w *Worker) begin(ctx context.Context, steps *errgroup.Group, t *task, do step, act func(context.Context) error) {
	t.busy = true
	steps.Go(func() error {
		err := act(ctx)
		w.mu.Lock()
		defer w.mu.Unlock()
		t.busy = false
		if t.skipped {
			t.skipped, w.listed = false, false
		}
		if err != nil && ctx.Err() == nil {
			w.trouble(t, do, err)
		}
		w.wake.Set()
		return nil
	})
}

const (
	// troublePause is at least how long a task waits that could not be brought forward: nobody waits for it but the user, and
	// trying every tenth of a second helps no one.
	troublePause = 2 * time.Second
	// awayPause is how long one waits that could not end for want of containerd.
	awayPause = 500 * time.Millisecond
	// maxTries is how often a node fails to run a task before it says that it cannot, and the leader looks for another node; as
	// often as it restarts one before that. It goes on trying.
	maxTries = 5
)

// trouble notes that a step failed. The report carries it to the user; the log gets it once.
func (w *Worker) trouble(t *task, do step, err error) {
	log := w.cfg.Log.With("service", t.status.Service, "task", t.status.ID)
	text := strings.ReplaceAll(err.Error(), "\n", " ")
	switch {
	case errors.Is(err, containers.ErrUnavailable):
		// Not the task's fault. Everything has to be looked at anew when containerd is back.
		w.listed = false
		t.wait(do, firstPause, awayPause)
		log.Debug("a step did not come to its end", "error", text)
		return
	case errors.Is(err, containers.ErrImageUnknown):
		// It was here at the last look, or the registry does not have it; looking again tells which.
		w.inspect = true
	case errors.Is(err, containers.ErrNoSpace):
		w.disk.full = true
	}
	verdict := cluster.Failed
	if errors.Is(err, containers.ErrRejected) || t.wanted && t.container != containers.Running && t.failures+1 >= maxTries {
		verdict = cluster.Rejected
	}
	w.failed(t, verdict, text, time.Now())
	after := max(pause(t.failures), troublePause)
	t.wait(do, after, after)
	log.Warn("a task could not be brought forward", "error", text)
}

// wait sets the pause before the task is tried again: its end, if it was to end, or else its start. Neither waits for the
// other.
func (t *task) wait(do step, start, end time.Duration) {
	if do.ends() {
		t.endAfter = time.Now().Add(end)
	} else {
		t.notBefore = time.Now().Add(start)
	}
}

// fetch brings a task's image here.
func (w *Worker) fetch(ctx context.Context, want cluster.Container, from source) error {
	// The registry is the last to be asked: whoever shall not ask it waits, and does not come here.
	request := containers.PullRequest{Ref: want.Image, Digest: want.Digest, Registry: true, ForService: true}
	for _, id := range from.peers {
		if peer, ok := w.cfg.Peer(id); ok {
			request.Sources = append(request.Sources, peer)
		}
	}
	if err := w.cfg.Runtime.Pull(ctx, request); err != nil {
		return err
	}
	w.ImagesChanged()
	return nil
}

// slotLimit is how long one start may keep others from theirs. What takes longer hangs, and waits for something else
// than the processor.
const slotLimit = 10 * time.Second

// start makes the container of a planned task and starts it.
func (w *Worker) start(ctx context.Context, t *task, id string, made containers.Task, spec cluster.Spec, files []containers.File) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case w.slots <- struct{}{}:
	}
	release := sync.OnceFunc(func() { <-w.slots })
	defer release()
	defer time.AfterFunc(slotLimit, release).Stop()

	if t.container == containers.Created {
		if err := w.cfg.Runtime.Remove(ctx, id); err != nil {
			return err
		}
	}
	address, err := w.address(t)
	if err != nil {
		return err
	}
	namespace, err := w.cfg.Network.Attach(ctx, id, address)
	if err != nil {
		return err
	}
	hostname := cmp.Or(spec.Container.Hostname, id[:min(12, len(id))])
	w.mu.Lock()
	t.exit, t.oom, t.begun, t.runningAt, t.ready, t.check = nil, false, false, time.Time{}, false, nil
	w.mu.Unlock()
	err = w.cfg.Runtime.Create(ctx, containers.Spec{
		ID: id, Task: made, Files: files,
		Container: spec.Container, Resources: spec.Resources, NetNS: namespace, Hostname: hostname,
		Hosts: fmt.Sprintf("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n%s\t%s\n", address, hostname),
		// The bridge's address, where the agent answers names.
		ResolvConf: fmt.Sprintf("nameserver %s\noptions ndots:0\n", w.cfg.Subnet().Addr().Next()),
	})
	var health cluster.Health
	if err == nil {
		w.mu.Lock()
		t.container = containers.Created
		w.mu.Unlock()
		health, err = w.healthOf(ctx, spec)
	}
	if err == nil {
		err = w.cfg.Runtime.Start(ctx, id)
	}
	if err != nil {
		if removeErr := w.cfg.Runtime.Remove(ctx, id); removeErr == nil {
			w.mu.Lock()
			t.container = ""
			w.mu.Unlock()
		}
		return err
	}
	begun := time.Now()
	w.mu.Lock()
	t.container, t.waited = containers.Running, nil
	w.mu.Unlock()
	release() // the rest is waiting, and others may start meanwhile
	ports := spec.Ports
	if health.HTTP != "" || health.TCP {
		ports = append(slices.Clone(ports), cluster.Port{Target: spec.HealthPort(), Protocol: cluster.TCP})
	}
	if err := w.awaitPorts(ctx, t, id, ports); err != nil && ctx.Err() == nil {
		w.cfg.Log.Warn("a task counts as running without a look at its ports", "service", spec.Name, "task", id, "error", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.exit == nil { // else the next look says how it ended
		t.check = checkOf(health, begun, time.Now())
		t.ready = t.check == nil
		t.runs(time.Now())
	}
	return nil
}

const (
	// portsLimit is how long a started container may take to open its published ports before it counts as running
	// all the same. What needs longer wants a check of its own.
	portsLimit = 10 * time.Second
	firstLook  = 5 * time.Millisecond
	lastLook   = 100 * time.Millisecond
)

// awaitPorts waits until the container has opened the ports that are published. Before that, connections to it are
// refused, and a task that runs gets some. It gives up when the container ends or is not wanted any more.
func (w *Worker) awaitPorts(ctx context.Context, t *task, id string, ports []cluster.Port) error {
	ctx, cancel := context.WithTimeout(ctx, portsLimit)
	defer cancel()
	for pause := firstLook; len(ports) > 0; pause = min(2*pause, lastLook) {
		open, err := w.cfg.Network.Listening(ctx, id, ports)
		if open || err != nil && ctx.Err() == nil {
			return err
		}
		w.mu.Lock()
		over := t.exit != nil || !t.wanted
		w.mu.Unlock()
		if over {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
	return nil
}

// address returns the task's address, choosing one that no other task of this node has. Addresses are taken in
// turn, so that one which was just given back is the last to be used again.
func (w *Worker) address(t *task) (netip.Addr, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	subnet := w.cfg.Subnet()
	if subnet.Contains(t.address) {
		return t.address, nil
	}
	gateway := subnet.Addr().Next()
	taken := map[netip.Addr]bool{gateway: true}
	for _, other := range w.tasks {
		taken[other.address] = true
	}
	a := w.last
	for range 256 {
		if a = a.Next(); !subnet.Contains(a) || a.As4()[3] == 255 {
			a = gateway
		}
		if !taken[a] {
			w.last, t.address = a, a
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no address is left in %s: this node runs its most of containers", subnet)
}

// countLimit bounds how long the kernel may take to list its connections.
const countLimit = 2 * time.Second

// count sees how many connections the task still has. Where the kernel does not tell, none are waited for.
func (w *Worker) count(ctx context.Context, t *task, address netip.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, countLimit)
	defer cancel()
	open, err := w.cfg.Network.Connections(ctx, address)
	if err != nil {
		w.cfg.Log.Debug("connections of a task that is to end", "task", t.status.ID, "error", err)
		open = 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t.parting.open, t.parting.counted = open, time.Now()
	return nil
}

// stop ends the task's container in the way that its service asks for. Of a service that was removed while this
// agent was down, nothing is known any more but what the container itself carries.
func (w *Worker) stop(ctx context.Context, t *task, id, signal string, grace time.Duration) error {
	if err := w.cfg.Runtime.Stop(ctx, id, signal, grace); err != nil {
		return err
	}
	w.mu.Lock()
	t.container = containers.Stopped
	t.stopped(time.Now())
	w.mu.Unlock()
	return w.bury(ctx, t, id)
}

// bury takes away the task's container. Its address stays with a task that will run again.
func (w *Worker) bury(ctx context.Context, t *task, id string) error {
	if err := w.cfg.Runtime.Remove(ctx, id); err != nil {
		return err
	}
	w.mu.Lock()
	t.container = ""
	keep := t.wanted
	w.mu.Unlock()
	if keep {
		return nil
	}
	if err := w.cfg.Network.Detach(ctx, id); err != nil {
		return err
	}
	w.mu.Lock()
	t.address = netip.Addr{}
	w.mu.Unlock()
	return nil
}
