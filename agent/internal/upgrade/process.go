package upgrade

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// socket is the agent that listens on it.
type socket struct{ path string }

// process is the agent's, as the kernel knows it: who listens on its socket.
func (s socket) process() (int, error) {
	conn, err := net.DialTimeout("unix", s.path, askLimit)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var who *unix.Ucred
	var asked error
	if err := raw.Control(func(fd uintptr) { who, asked = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return 0, err
	}
	if asked != nil {
		return 0, asked
	}
	return int(who.Pid), nil
}

// restart ends the agent, and not its containers; who looks after it starts it again.
func (s socket) restart(ctx context.Context, pid int, within, look time.Duration) error {
	if hasSystemd() {
		_, err := run(ctx, askLimit, "systemctl", "restart", "--no-block", "piswarm.service")
		return err
	}
	if err := unix.Kill(pid, unix.SIGINT); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end the former agent: %w", err)
	}
	for deadline := time.Now().Add(within); time.Now().Before(deadline); {
		if now, err := s.process(); err != nil || now != pid {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(look):
		}
	}
	return unix.Kill(pid, unix.SIGKILL)
}
