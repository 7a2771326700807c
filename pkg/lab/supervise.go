package lab

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The pause before a program that died is started again: short for one that had been running, longer each time for
// one that dies at once.
const (
	restartFirst  = 100 * time.Millisecond
	restartLast   = time.Second
	restartSettle = 5 * time.Second
	// afterWait bounds the wait for what a service needs.
	afterWait = 30 * time.Second
)

// reaper waits for every process whose parent is process 1, its own children and those that others left to it. The
// standard library's ways to wait for a child would compete with it.
type reaper struct {
	mu      sync.Mutex
	waiting map[int]chan<- syscall.WaitStatus
}

func startReaper() *reaper {
	r := &reaper{waiting: map[int]chan<- syscall.WaitStatus{}}
	death := make(chan os.Signal, 1)
	signal.Notify(death, unix.SIGCHLD)
	go func() {
		for range death {
			r.reap()
		}
	}()
	return r
}

func (r *reaper) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		r.mu.Lock()
		if c, ok := r.waiting[pid]; ok {
			c <- status
			delete(r.waiting, pid)
		}
		r.mu.Unlock()
	}
}

// spawn starts a program. The channel gives its end.
func (r *reaper) spawn(argv []string, out *os.File) (int, <-chan syscall.WaitStatus, error) {
	path, err := lookPath(argv[0])
	if err != nil {
		return 0, nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	// Locked until the child is known, for it may end before that.
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Dir:   "/",
		Env:   os.Environ(),
		Files: []uintptr{null.Fd(), out.Fd(), out.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", path, err)
	}
	end := make(chan syscall.WaitStatus, 1)
	r.waiting[pid] = end
	return pid, end, nil
}

// keep runs a service until it is told to stop. Then it asks the program to end, kills it if that takes too long, and
// returns.
func (r *reaper) keep(s service, out *os.File, stop <-chan struct{}) {
	note := func(format string, args ...any) {
		fmt.Fprintf(out, "lab: %s: %s\n", s.Name, fmt.Sprintf(format, args...))
	}
	awaitFile(s.After, afterWait, stop)
	for pause := restartFirst; !stopped(stop, 0); pause = min(2*pause, restartLast) {
		began := time.Now()
		pid, end, err := r.spawn(s.Argv, out)
		if err != nil {
			note("%v", err)
		} else {
			status := awaitEnd(pid, end, stop)
			note("process %d ended: %s", pid, describeEnd(status))
		}
		if time.Since(began) > restartSettle {
			pause = restartFirst
		}
		stopped(stop, pause)
	}
}

// awaitEnd waits for the end of a program, and brings it about when it is to stop.
func awaitEnd(pid int, end <-chan syscall.WaitStatus, stop <-chan struct{}) syscall.WaitStatus {
	select {
	case status := <-end:
		return status
	case <-stop:
	}
	// Until its end was awaited the process is at least a zombie, and its number nobody else's.
	_ = syscall.Kill(pid, syscall.SIGTERM)
	select {
	case status := <-end:
		return status
	case <-time.After(stopWait):
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	return <-end
}

// stopped tells whether it is time to stop, after waiting so long for it.
func stopped(stop <-chan struct{}, wait time.Duration) bool {
	select {
	case <-stop:
		return true
	default:
	}
	select {
	case <-stop:
		return true
	case <-time.After(wait):
		return false
	}
}

func describeEnd(status syscall.WaitStatus) string {
	if status.Signaled() {
		return status.Signal().String()
	}
	return fmt.Sprintf("exit code %d", status.ExitStatus())
}

// awaitFile waits for a path to exist; an empty one always does. After the wait, the service may find out itself what
// is missing, and say so in its log.
func awaitFile(path string, wait time.Duration, stop <-chan struct{}) {
	for deadline := time.Now().Add(wait); path != "" && time.Now().Before(deadline); {
		if unix.Access(path, unix.F_OK) == nil || stopped(stop, pollEvery) {
			return
		}
	}
}
