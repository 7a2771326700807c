package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inventory is the file in a lab's directory that says what must be removed after the lab, even if all of its processes
// were killed. It also marks the directory as a lab's.
const inventory = "inventory.json"

type inventoryFile struct {
	Cgroups []string `json:"cgroups"`
}

// sweepWait is how long the sweeper may take.
const sweepWait = 30 * time.Second

// sweeper is the process that cleans up after the owner. It knows that the owner has ended from a pipe.
type sweeper struct {
	cmd  *exec.Cmd
	pipe io.WriteCloser
	log  bytes.Buffer
}

func startSweeper(binary, dir string, cg *cgroups) (*sweeper, error) {
	text, err := json.Marshal(inventoryFile{Cgroups: cg.dirs()})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, inventory), text, 0o600); err != nil {
		return nil, err
	}
	s := &sweeper{cmd: exec.Command(binary, "lab", "sweep", dir)}
	s.cmd.Stderr = &s.log
	// What ends the owner, such as the end of its terminal, is not to end the sweeper.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	s.cmd.Dir = "/"
	if s.pipe, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the lab's sweeper: %w", err)
	}
	return s, nil
}

// finish tells the sweeper that the owner is done, and waits for its end.
func (s *sweeper) finish() error {
	timer := time.AfterFunc(sweepWait, func() { s.cmd.Process.Kill() })
	defer timer.Stop()
	err := s.pipe.Close()
	if err := errors.Join(err, s.cmd.Wait()); err != nil {
		return fmt.Errorf("clean up: %w: %s", err, strings.TrimSpace(s.log.String()))
	}
	return nil
}

// SweepMain is what `piswarm lab sweep DIR` runs: it waits for the owner's end and then removes the lab. Only Start
// starts it.
func SweepMain(dir string) error {
	// Opened now: by the time the owner has ended, the path may lead to another lab.
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	return sweep(d)
}

// Sweep removes what a lab whose owner has ended left in cgroups and files, and kills what is left of its processes.
// There is nothing to do if the directory does not exist.
func Sweep(dir string) error {
	d, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	return sweep(d)
}

func sweep(d *os.File) error {
	dir := d.Name()
	// The lab's own sweeper may be at it. When it is done, the directory is no more, or is another.
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("lock %s: %w", dir, err)
	}
	if same, err := isAt(d, dir); err != nil || !same {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, inventory))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is not the directory of a lab: it has no %s", dir, inventory)
	}
	if err != nil {
		return err
	}
	var left inventoryFile
	if err := json.Unmarshal(text, &left); err != nil {
		return fmt.Errorf("read %s: %w", filepath.Join(dir, inventory), err)
	}
	var errs []error
	for _, group := range left.Cgroups {
		errs = append(errs, removeCgroup(group, true))
	}
	// The directory goes last, so that an unfinished sweep can be done again.
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// isAt tells whether an open directory is the one that a path leads to.
func isAt(d *os.File, path string) (bool, error) {
	open, err := d.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(open, there), err
}
