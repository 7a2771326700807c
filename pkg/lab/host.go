package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Waits while a host starts. They are long because a test machine may be busy; a start takes a second or two.
const (
	initWait    = 20 * time.Second
	serviceWait = 60 * time.Second
	deathWait   = 20 * time.Second
)

// LaptopName is the host that is no Pi: it has the lab's LAN and programs, but neither containerd nor agent.
const LaptopName = "laptop"

// host is a computer of the lab.
type host struct {
	lab  *Lab
	name string
	mac  net.HardwareAddr
	dir  string
	pi   bool

	// op is held through each change of power or cable, so that they come one after the other.
	op sync.Mutex

	// mu guards what List shows, for moments only.
	mu      sync.Mutex
	addr    netip.Addr
	next    netip.Addr // the address from the next start on
	running *machine   // nil: off
	cut     bool
	loss    int // percent of packets, each way
}

// machine is a host's life between power-on and power-off.
type machine struct {
	cmd   *exec.Cmd
	start uint64        // of init; see startTime
	line  *os.File      // the owner's end of the socket that the host's init holds
	dead  chan struct{} // closed when init, and so every process of the host, has ended
	up    bool          // the host has its own file system
	lossy bool          // it has the chain that drops packets; guarded by the lab's losses
}

// newPi describes pi1, pi2, …
func newPi(l *Lab, n int) *host {
	return newHost(l, fmt.Sprintf("pi%d", n), piAddress(n), true)
}

func newLaptop(l *Lab) *host {
	return newHost(l, LaptopName, netip.MustParseAddr(lanLaptop), false)
}

func newHost(l *Lab, name string, addr netip.Addr, pi bool) *host {
	return &host{lab: l, name: name, addr: addr, next: addr, mac: hardwareAddress(addr), dir: filepath.Join(l.dir, name), pi: pi}
}

func (h *host) logFile(program string) string { return filepath.Join(h.dir, "log", program+".log") }

// Parts of a host's directory. Everything but the log is its disk.
const (
	diskDir  = "disk"  // directories that the host sees as they are, for containerd cannot work in an overlay
	upperDir = "upper" // what the host changed elsewhere in its file system
	workDir  = "work"  // the overlay's own
	mountDir = "mount" // where the overlay is mounted while the host starts
	logDir   = "log"
)

// diskDirs are those below diskDir.
var diskDirs = []string{"/var/lib/containerd", "/var/lib/piswarm", "/etc/piswarm"}

// makeDisk writes the host's disk as a freshly flashed SD card.
func (h *host) makeDisk(token string) error {
	for _, dir := range []string{upperDir, workDir, mountDir, logDir} {
		if err := os.MkdirAll(filepath.Join(h.dir, dir), 0o755); err != nil {
			return err
		}
	}
	for _, dir := range diskDirs {
		if err := os.MkdirAll(filepath.Join(h.dir, diskDir, dir), 0o755); err != nil {
			return err
		}
	}
	id := make([]byte, 16)
	rand.Read(id)
	if err := os.WriteFile(filepath.Join(h.dir, diskDir, "machine-id"), []byte(hex.EncodeToString(id)+"\n"), 0o444); err != nil {
		return err
	}
	if token == "" || !h.pi {
		return nil
	}
	config := fmt.Sprintf("token = %q\n", token)
	return os.WriteFile(filepath.Join(h.dir, diskDir, "etc/piswarm/piswarm.toml"), []byte(config), 0o600)
}

// powerOn starts the host and waits for its programs. One that does not come up is powered off again.
func (h *host) powerOn(ctx context.Context) error {
	h.op.Lock()
	defer h.op.Unlock()
	if h.machine() != nil {
		return nil
	}
	// This removes what a host that went off by itself left behind.
	if err := h.kill(); err != nil {
		return fmt.Errorf("start %s: %w", h.name, err)
	}
	began := time.Now()
	h.lab.takeAddress(h)
	err := h.boot(ctx)
	if err == nil {
		err = h.applyLoss(ctx)
	}
	if err == nil && h.pi {
		err = h.awaitServices(ctx)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", h.name, err), h.kill())
	}
	h.lab.opt.Log(fmt.Sprintf("%s is up at %s after %.1f s", h.name, h.address(), time.Since(began).Seconds()))
	return nil
}

// boot starts the host's init in new namespaces, gives it its cgroups and its network, and waits until it has
// its file system.
func (h *host) boot(ctx context.Context) error {
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(h.logFile("init"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return errors.Join(err, ours.Close(), theirs.Close())
	}
	cmd := exec.Command(h.lab.binary(), "lab", "init")
	cmd.Env = []string{"PATH=" + hostPath, "HOME=/root", "LANG=C.UTF-8"}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Setsid: true}
	err = cmd.Start()
	// Only the child has these now: its end of the line must end with it.
	theirs.Close()
	log.Close()
	if err != nil {
		return errors.Join(err, ours.Close())
	}
	start, err := startTime(cmd.Process.Pid)
	m := &machine{cmd: cmd, start: start, line: ours, dead: make(chan struct{})}
	h.mu.Lock()
	h.running = m
	h.mu.Unlock()
	go func() {
		// A killed init is no error, and why another one ended stands in its log.
		_ = cmd.Wait()
		close(m.dead)
	}()
	if err != nil {
		return err
	}
	if err := h.lab.cg.add(h.name, cmd.Process.Pid); err != nil {
		return fmt.Errorf("cgroups: %w%s", err, h.tail("init"))
	}
	if err := h.lab.lan.plug(h.name, cmd.Process.Pid, h.address(), h.mac, !h.isCut()); err != nil {
		return fmt.Errorf("network: %w%s", err, h.tail("init"))
	}
	return h.await(ctx, m)
}

// await sends init its orders and waits for its word that they are carried out.
func (h *host) await(ctx context.Context, m *machine) error {
	// Until the host is up it cannot be told of a new address.
	h.lab.names.RLock()
	defer h.lab.names.RUnlock()
	ctx, cancel := context.WithTimeout(ctx, initWait)
	defer cancel()
	defer context.AfterFunc(ctx, func() { m.line.SetReadDeadline(time.Now()) })()
	if err := json.NewEncoder(m.line).Encode(h.orders()); err != nil {
		return fmt.Errorf("init: %w%s", err, h.tail("init"))
	}
	answer := make([]byte, len(initUp))
	if _, err := io.ReadFull(m.line, answer); err != nil || string(answer) != initUp {
		return fmt.Errorf("init gave up%s", h.tail("init"))
	}
	h.mu.Lock()
	m.up = true
	h.mu.Unlock()
	return ctx.Err()
}

// orders are what the host's init is told.
func (h *host) orders() orders {
	o := orders{Name: h.name, Dir: h.dir, Binary: h.lab.binary(), Hosts: h.lab.hostLines(), Cgroups: h.lab.cg.all, Pure: h.lab.cg.pure}
	if h.pi {
		o.Services = []service{
			{Name: "containerd", Argv: []string{"containerd"}},
			{Name: "agent", Argv: h.lab.opt.agent, After: containerdSocket},
		}
	}
	return o
}

// powerOff kills the host's init; the kernel kills all other processes of its PID namespace with it.
func (h *host) powerOff() error {
	h.op.Lock()
	defer h.op.Unlock()
	if err := h.kill(); err != nil {
		return fmt.Errorf("power off %s: %w", h.name, err)
	}
	return nil
}

func (h *host) kill() error {
	h.mu.Lock()
	m := h.running
	h.running = nil
	h.mu.Unlock()
	if m == nil {
		return nil
	}
	// It may have ended by itself.
	_ = m.cmd.Process.Kill()
	defer m.line.Close()
	select {
	case <-m.dead:
	case <-time.After(deathWait):
		return fmt.Errorf("its processes did not end within %s", deathWait)
	}
	return errors.Join(h.lab.lan.unplug(h.name), h.lab.cg.remove(h.name))
}

func (h *host) setCable(plugged bool) error {
	h.op.Lock()
	defer h.op.Unlock()
	if h.machine() != nil {
		if err := h.lab.lan.setCable(h.name, plugged); err != nil {
			return fmt.Errorf("the cable of %s: %w", h.name, err)
		}
	}
	h.mu.Lock()
	h.cut = !plugged
	h.mu.Unlock()
	return nil
}

// machine returns the running one, nil if the host is off. A host whose init ended by itself is off, too.
func (h *host) machine() *machine {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running == nil {
		return nil
	}
	select {
	case <-h.running.dead:
		return nil
	default:
		return h.running
	}
}

func (h *host) isCut() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.cut
}

func (h *host) describe() Host {
	d := Host{Name: h.name, Power: "off", Network: "up", Group: h.lab.lan.groupOf(h.name)}
	if m := h.machine(); m != nil {
		d.Power, d.PID = "on", m.cmd.Process.Pid
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	d.Address, d.Loss = h.addr.String(), h.loss
	if h.cut {
		d.Network = "cut"
	}
	return d
}

func (h *host) target() (Target, error) {
	m := h.machine()
	h.mu.Lock()
	up := m != nil && m.up
	h.mu.Unlock()
	// Until it is up, what its processes see is still this machine's file system.
	if !up {
		return Target{}, fmt.Errorf("%s is off", h.name)
	}
	t := Target{Name: h.name, PID: m.cmd.Process.Pid, Start: m.start}
	h.lab.cg.target(&t)
	return t, nil
}

// tailBytes is how much of a log an error shows.
const tailBytes = 2000

// tail returns the end of a log for an error message, starting on a new line.
func (h *host) tail(program string) string {
	text, err := os.ReadFile(h.logFile(program))
	if err != nil || len(text) == 0 {
		return "; it wrote no log"
	}
	if len(text) > tailBytes {
		text = text[len(text)-tailBytes:]
	}
	return "; the end of its log:\n" + strings.TrimSpace(string(text))
}

// socketPair returns two connected sockets. When one end is closed, by the end of its process too, the other reads EOF.
func socketPair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "line"), os.NewFile(uintptr(fds[1]), "line"), nil
}
