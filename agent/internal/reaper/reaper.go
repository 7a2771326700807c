//go:build unix

// Package reaper is the first process of a container whose service asks for one (--init). Many programs are not written
// to be that: signals that they do not expect are lost on them, and children that were left behind stay as zombies.
//
// It is the agent's own program, mounted into the container: nothing has to be fetched, and it needs nothing that an
// image may lack. It runs with what the container has and no more, reads nothing but its arguments, and does three
// things: it starts the program, hands on signals, and waits for every process that ends. It takes 3 MB of memory beside
// the text that it shares with the agent.
package reaper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"runtime/debug"
	"slices"
	"syscall"
)

// Exit codes as those of a shell.
const (
	notExecutable = 126
	notFound      = 127
	bySignal      = 128 // and the signal's number
)

// Run starts a program and returns its exit code when it has ended. What else runs in the container then ends with it.
func Run(argv []string) int {
	// Before anything is there to be stopped: they wait until there is.
	signals := make(chan os.Signal, 64)
	signal.Notify(signals)
	pid, code, err := start(argv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "init:", err)
		return code
	}
	// From here on hardly any memory is needed, and each container would keep what the start took.
	debug.FreeOSMemory()
	go func() {
		for s := range signals {
			if s, ok := s.(syscall.Signal); ok && !slices.Contains(own, s) {
				_ = syscall.Kill(pid, s) // it may have ended
			}
		}
	}()
	return wait(pid)
}

// own are the signals that are this process' and not the program's: children end, and Go's own scheduler sends URG. Those
// of terminals would stop a program that nobody can wake.
var own = []syscall.Signal{syscall.SIGCHLD, syscall.SIGURG, syscall.SIGPIPE, syscall.SIGTTIN, syscall.SIGTTOU}

// start runs a program beside this one, with the same environment, files and rights.
func start(argv []string) (pid, code int, err error) {
	if len(argv) == 0 {
		return 0, notFound, errors.New("no program to run")
	}
	path, err := exec.LookPath(argv[0])
	if err == nil {
		// A group of its own, so that a program that ends its group leaves this process alone.
		pid, err = syscall.ForkExec(path, argv, &syscall.ProcAttr{
			Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setpgid: true},
		})
	}
	switch {
	case err == nil:
		return pid, 0, nil
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		code = notFound
	default:
		code = notExecutable
	}
	return 0, code, fmt.Errorf("run %s: %w", argv[0], err)
}

// wait takes in whoever ends, until it is the program.
func wait(pid int) int {
	for {
		var status syscall.WaitStatus
		ended, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			fmt.Fprintln(os.Stderr, "init: wait:", err)
			return notExecutable
		case ended == pid && status.Signaled():
			return bySignal + int(status.Signal())
		case ended == pid:
			return status.ExitStatus()
		}
	}
}
