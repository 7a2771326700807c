package doctor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	client "github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"
)

// Machine is what the checks look at.
type Machine struct {
	// Root is where the machine's files are: /, or a test's copy of the few that matter.
	Root string
	// Privileged tells whether the machine lets us look everywhere.
	Privileged bool
	Now        func() time.Time
	// Synchronised tells whether something keeps the clock right.
	Synchronised func() bool
	// Run runs a command and returns what it prints; the error has what it complains about.
	Run func(ctx context.Context, name string, args ...string) (string, error)
	// Containerd asks containerd for its version.
	Containerd func(context.Context) (string, error)
	// JoinMDNS tries to hear multicast DNS on an interface.
	JoinMDNS func(link string) error
	// PowerSave tells whether a Wi-Fi interface sleeps between packets.
	PowerSave func(link string) (bool, error)
	// Space is how much of the file system below a path is free, and how large it is.
	Space func(path string) (free, size uint64, err error)
}

// This is the machine that the program runs on.
func This() Machine {
	return Machine{
		Root: "/", Privileged: os.Geteuid() == 0, Now: time.Now, Synchronised: synchronised, Run: run,
		Containerd: containerdVersion, JoinMDNS: joinMDNS, PowerSave: powerSave, Space: space,
	}
}

// maxFile bounds a file that is read, and what a command prints.
const maxFile = 1 << 20

// path is where a file of the machine is.
func (m Machine) path(name string) string { return filepath.Join(m.Root, name) }

// read returns a file's text. Of one that is longer than any of those here should be, it is the beginning.
func (m Machine) read(name string) (string, error) {
	f, err := os.Open(m.path(name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxFile))
	return string(raw), err
}

// value is the text of a file with one line, or "" without the file.
func (m Machine) value(name string) string {
	text, _ := m.read(name)
	return strings.TrimSpace(text)
}

func (m Machine) exists(name string) bool {
	_, err := os.Stat(m.path(name))
	return err == nil
}

func (m Machine) glob(pattern string) []string {
	found, _ := filepath.Glob(m.path(pattern)) // the patterns are good
	for i := range found {
		found[i], _ = filepath.Rel(m.Root, found[i])
	}
	return found
}

func synchronised() bool {
	var t unix.Timex
	_, err := unix.Adjtimex(&t)
	return err == nil && t.Status&unix.STA_UNSYNC == 0
}

func space(path string) (free, size uint64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return 0, 0, fmt.Errorf("ask for the space of %s: %w", path, err)
	}
	block := uint64(s.Bsize)
	return s.Bavail * block, s.Blocks * block, nil
}

// runLimit is how long a command may take: a Pi Zero whose card is busy needs seconds to start one.
const runLimit = 15 * time.Second

func run(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var out, complaint limited
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &complaint, time.Second
	err := cmd.Run()
	if text := strings.Join(strings.Fields(complaint.buf.String()), " "); err != nil && text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	return out.buf.String(), err
}

// limited keeps the beginning of what is written to it.
type limited struct{ buf bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.buf.Write(p[:min(len(p), max(0, maxFile-l.buf.Len()))])
	return len(p), nil
}

// containerdSocket is where containerd answers on every distribution.
const containerdSocket = "/run/containerd/containerd.sock"

// dialLimit is how long containerd may take to answer.
const dialLimit = 10 * time.Second

func containerdVersion(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	// The client hides why there is nobody behind its attempts to connect again.
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", containerdSocket)
	if err != nil {
		return "", err
	}
	conn.Close()
	c, err := client.New(containerdSocket, client.WithTimeout(dialLimit))
	if err != nil {
		return "", err
	}
	defer c.Close()
	version, err := c.Version(ctx)
	return version.Version, err
}

// joinMDNS listens beside whoever else does, as avahi, and hangs up.
func joinMDNS(link string) error {
	i, err := net.InterfaceByName(link)
	if err != nil {
		return err
	}
	conn, err := net.ListenMulticastUDP("udp4", i, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: mDNSPort})
	if err != nil {
		return errors.Unwrap(err)
	}
	return conn.Close()
}
