package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Waits while a host shuts down, as long as systemd's usual ones or shorter.
const (
	stopWait = 60 * time.Second // for a service to end after SIGTERM
	restWait = 5 * time.Second  // for all that is left
	// shutdownWait is for the whole: two services, the rest, and a busy machine.
	shutdownWait = 2*stopWait + restWait + 15*time.Second
)

// Shutdown shuts a host down in good order and returns when it is off: the agent is asked to end and waited for, then
// containerd, then all that is left. A host that has not ended after a bounded time, or when ctx does, loses its
// power, and that is an error. A host that is off stays off.
func (l *Lab) Shutdown(ctx context.Context, name string) error {
	h, err := l.host(name)
	if err != nil {
		return err
	}
	return h.shutdown(ctx)
}

func (h *host) shutdown(ctx context.Context) error {
	h.op.Lock()
	defer h.op.Unlock()
	var late error
	if m := h.machine(); m != nil {
		// Init may have ended by itself.
		_ = m.cmd.Process.Signal(unix.SIGTERM)
		ctx, cancel := context.WithTimeoutCause(ctx, shutdownWait, fmt.Errorf("it did not end within %s", shutdownWait))
		defer cancel()
		select {
		case <-m.dead:
		case <-ctx.Done():
			late = fmt.Errorf("%w%s", context.Cause(ctx), h.tail("init"))
		}
	}
	if err := errors.Join(late, h.kill()); err != nil {
		return fmt.Errorf("shut down %s: %w", h.name, err)
	}
	return nil
}

// keeper keeps one service running.
type keeper struct {
	stop, stopped chan struct{}
}

// start starts a service and keeps it running until the keeper ends it.
func (r *reaper) start(s service, out *os.File) *keeper {
	k := &keeper{stop: make(chan struct{}), stopped: make(chan struct{})}
	go func() {
		defer close(k.stopped)
		r.keep(s, out, k.stop)
	}()
	return k
}

// end stops the service and waits for its end.
func (k *keeper) end() {
	close(k.stop)
	<-k.stopped
}

// shutDown ends the host's services, each before the one that it needs, and then every other process.
func shutDown(services []*keeper) {
	for _, k := range slices.Backward(services) {
		k.end()
	}
	// To all but this process. Those that others left are its children now; what the owner runs on the host is not.
	_ = syscall.Kill(-1, unix.SIGTERM)
	for deadline := time.Now().Add(restWait); time.Now().Before(deadline); time.Sleep(pollEvery) {
		if !hasChildren() {
			return
		}
	}
}

// hasChildren tells whether a process is left that will end as this one's child.
func hasChildren() bool {
	// WNOWAIT leaves those that ended to the reaper.
	err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	return !errors.Is(err, unix.ECHILD)
}
