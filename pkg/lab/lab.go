package lab

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options say what lab to start.
type Options struct {
	// Nodes is the number of Pis: pi1, pi2, …
	Nodes int
	// Binary is the piswarm program that the hosts run.
	Binary string
	// Dir holds the hosts' disks and logs. It must be empty or not exist, and Close removes it. Without one, a new
	// directory under /var/tmp is used.
	Dir string
	// Token is the cluster secret that every Pi's SD card carries. Without one the cards are generic, and the
	// nodes have to be told by `piswarm init` and `piswarm join`.
	Token string
	// Forward lists TCP ports of 127.0.0.1 of this machine that lead to the same port of the lab's Pis.
	Forward []int
	// Log, if set, is called with a line about each step. Calls may come from several goroutines at once.
	Log func(line string)

	// For tests of the lab itself: another program as agent, and another time for the programs to answer.
	agent       []string
	serviceWait time.Duration
}

// MaxNodes is the largest number of Pis in a lab. The last one has 192.168.77.210.
const MaxNodes = 200

// Host is what the lab knows of one host.
type Host struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Power   string `json:"power"`           // on or off
	Network string `json:"network"`         // up or cut
	Group   int    `json:"group,omitempty"` // of a split LAN, counted from 1; 0: it reaches all
	Loss    int    `json:"loss,omitempty"`  // percent of the packets, each way
	PID     int    `json:"pid,omitempty"`   // of the host's init, as this machine counts
}

// Lab is a running lab. Its methods may be called from several goroutines.
type Lab struct {
	opt   Options
	dir   string
	lan   *lan
	cg    *cgroups
	sweep *sweeper
	hosts []*host

	forwards []*forward
	names    sync.RWMutex // held while addresses change; see takeAddress
	losses   sync.Mutex   // held while the hosts' rules about lost packets change

	closing  sync.Once
	closeErr error
}

// Start starts a lab and returns when all its Pis are up: containerd and the agent of each of them answer. A
// failed start leaves nothing behind. Cancelling ctx later does not end the lab; Close does.
func Start(ctx context.Context, opt Options) (*Lab, error) {
	if opt.Nodes < 1 || opt.Nodes > MaxNodes {
		return nil, fmt.Errorf("a lab of %d nodes: want 1 to %d", opt.Nodes, MaxNodes)
	}
	if err := Preflight(); err != nil {
		return nil, err
	}
	if opt.Log == nil {
		opt.Log = func(string) {}
	}
	if opt.agent == nil {
		opt.agent = []string{hostBinary, "agent"}
	}
	if opt.serviceWait == 0 {
		opt.serviceWait = serviceWait
	}
	l := &Lab{opt: opt}
	if err := l.start(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// start makes everything in an order in which Close can undo any beginning of it.
func (l *Lab) start(ctx context.Context) (err error) {
	if l.forwards, err = listenForwards(l.opt.Forward, l); err != nil {
		return err
	}
	if l.dir, err = makeDir(l.opt.Dir); err != nil {
		return err
	}
	// A copy, so that building a new one does not change the program under the hosts' feet.
	if err := copyFile(l.binary(), l.opt.Binary, 0o755); err != nil {
		return fmt.Errorf("copy the piswarm program: %w", err)
	}
	// The name says whose lab it is, to people and to the tests.
	if l.cg, err = findCgroups(fmt.Sprintf("piswarm-lab-%d-%s", os.Getpid(), strings.ToLower(rand.Text()[:8]))); err != nil {
		return err
	}
	// The sweeper comes before anything that it would have to remove.
	if l.sweep, err = startSweeper(l.binary(), l.dir, l.cg); err != nil {
		return err
	}
	if l.lan, err = newLAN(); err != nil {
		return fmt.Errorf("make the LAN: %w", err)
	}
	for i := range l.opt.Nodes {
		l.hosts = append(l.hosts, newPi(l, i+1))
	}
	l.hosts = append(l.hosts, newLaptop(l))
	group, ctx := errgroup.WithContext(ctx)
	for _, h := range l.hosts {
		group.Go(func() error {
			if err := h.makeDisk(l.opt.Token); err != nil {
				return fmt.Errorf("%s: %w", h.name, err)
			}
			return h.powerOn(ctx)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, f := range l.forwards {
		f.start()
	}
	return nil
}

// Close ends the lab: every process in it dies, and its files, cgroups and network are removed.
func (l *Lab) Close() error {
	l.closing.Do(func() { l.closeErr = l.close() })
	return l.closeErr
}

func (l *Lab) close() error {
	for _, f := range l.forwards {
		f.close()
	}
	var (
		mu   sync.Mutex
		errs []error
		wg   sync.WaitGroup
	)
	for _, h := range l.hosts {
		wg.Go(func() {
			if err := h.powerOff(); err != nil {
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if l.lan != nil {
		l.lan.close()
	}
	if l.sweep != nil {
		// The sweeper then finds nothing to do. It is for the case that this process does not come this far.
		errs = append(errs, Sweep(l.dir), l.sweep.finish())
	} else if l.dir != "" {
		errs = append(errs, os.RemoveAll(l.dir))
	}
	return errors.Join(errs...)
}

// PowerOff cuts a host's power: all its processes die at this instant. Its disk stays. A host that is off stays off.
func (l *Lab) PowerOff(name string) error {
	h, err := l.host(name)
	if err != nil {
		return err
	}
	return h.powerOff()
}

// PowerOn starts a host from its disk, with the address it had or was given meanwhile, and returns when it is up as after Start. A host
// that is on stays on.
func (l *Lab) PowerOn(ctx context.Context, name string) error {
	h, err := l.host(name)
	if err != nil {
		return err
	}
	return h.powerOn(ctx)
}

// Cut pulls a host's network cable at the switch: the host sees no carrier and keeps its address and routes. A
// cable stays pulled through a power cut.
func (l *Lab) Cut(name string) error { return l.setCable(name, false) }

// Heal puts a host's network cable back.
func (l *Lab) Heal(name string) error { return l.setCable(name, true) }

func (l *Lab) setCable(name string, plugged bool) error {
	h, err := l.host(name)
	if err != nil {
		return err
	}
	return h.setCable(plugged)
}

// List returns all hosts: the Pis in order, then the laptop.
func (l *Lab) List() []Host {
	list := make([]Host, 0, len(l.hosts))
	for _, h := range l.hosts {
		list = append(list, h.describe())
	}
	return list
}

// Root is a path by which this machine reaches a host's file system while the host is on.
func (l *Lab) Root(name string) (string, error) {
	t, err := l.Target(name)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/%d/root", t.PID), nil
}

// LogFile is the path of a host's log of containerd, agent or init. What is in it is bounded; Close removes it.
func (l *Lab) LogFile(name, program string) (string, error) {
	h, err := l.host(name)
	if err != nil {
		return "", err
	}
	return h.logFile(program), nil
}

// Target is what [Target.Exec] needs to enter a host.
func (l *Lab) Target(name string) (Target, error) {
	h, err := l.host(name)
	if err != nil {
		return Target{}, err
	}
	return h.target()
}

// Exec runs a command on a host and returns its exit code: 128 and the signal's number if a signal ended it, 127 if
// there is no such program. The error is nil whenever the command ran.
func (l *Lab) Exec(ctx context.Context, name string, argv []string, stdio Stdio) (int, error) {
	t, err := l.Target(name)
	if err != nil {
		return -1, err
	}
	return t.Exec(ctx, argv, stdio)
}

// binary is the lab's own copy of the piswarm program.
func (l *Lab) binary() string { return filepath.Join(l.dir, "piswarm") }

func (l *Lab) host(name string) (*host, error) {
	var names []string
	for _, h := range l.hosts {
		if h.name == name {
			return h, nil
		}
		names = append(names, h.name)
	}
	return nil, fmt.Errorf("no host %q in the lab: there are %s", name, strings.Join(names, ", "))
}

// makeDir makes the lab's directory, or takes an empty one.
func makeDir(dir string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("/var/tmp", "piswarm-lab-")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	// These would end or split an option of the overlay mount.
	if strings.ContainsAny(dir, `,:\`) {
		return "", fmt.Errorf("lab directory %s: a comma, colon or backslash in its path is not possible", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("lab directory %s is not empty", dir)
	}
	return dir, nil
}

// copyFile copies a program. A child that another goroutine starts meanwhile has the open copy for the moment before
// it becomes another program, and during that moment the copy cannot be run: so none is started.
func copyFile(to, from string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return errors.Join(err, out.Close())
	}
	return out.Close()
}
