package upgrade

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/piswarm/piswarm/pkg/client"
)

// Dir is where an upgrade is prepared and carried out: on disk, so that it outlives a power cut.
type Dir string

// Files of a Dir.
const (
	offered   = "piswarm.deb" // what was taken in; apt wants a package to be named so
	keeper    = "keeper"      // the program that carries it out
	candidate = "new"         // the new program, for a try
	kept      = "old.deb"     // the old package
	orderFile = "order.json"  // that it is to be done
	stateFile = "state.json"  // how it goes, and went
	lockFile  = "lock"        // held by the keeper
)

// order is what is to be done.
type order struct {
	Kind    client.UpgradeKind `json:"kind"`
	SHA256  string             `json:"sha256"`
	Program string             `json:"program"` // path of the agent's
	From    string             `json:"from"`    // version of the agent until now
	Tasks   []string           `json:"tasks"`   // that ran before
}

func (d Dir) path(name string) string { return filepath.Join(string(d), name) }

// ordered returns what is to be done, false if nothing is.
func (d Dir) ordered() (o order, ok bool, err error) {
	ok, err = d.read(orderFile, &o)
	return o, ok, err
}

// state is what is known of the last upgrade.
func (d Dir) state() (client.UpgradeState, error) {
	var s client.UpgradeState
	_, err := d.read(stateFile, &s)
	return s, err
}

func (d Dir) read(name string, into any) (bool, error) {
	raw, err := os.ReadFile(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return false, fmt.Errorf("read %s: %w", d.path(name), err)
	}
	return true, nil
}

// write replaces a file as a whole; it is on the card when it returns.
func (d Dir) write(name string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(d.path(name), append(raw, '\n'), 0o600); err != nil {
		return err
	}
	return d.sync()
}

func (d Dir) sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// clear removes everything but how it went. The order goes first: without it the rest is nothing.
func (d Dir) clear() error {
	var errs []error
	for _, name := range []string{orderFile, offered, candidate, kept, keeper} {
		if err := os.Remove(d.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, os.RemoveAll(d.path(tree)))...)
}

// lock makes sure of being the only keeper; false if there is another one.
func (d Dir) lock() (unlock func(), ok bool, err error) {
	f, err := os.OpenFile(d.path(lockFile), os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, false, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, false, nil
		}
		return nil, false, fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return func() { f.Close() }, true, nil
}

// link gives a file another name, that the file keeps when the first one comes to name something else. Where the two
// are on two file systems it is a copy.
func link(from, to string) error {
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	return replace(from, to)
}

// replace makes a file be a copy of another, in one step.
func replace(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := renameio.NewPendingFile(to, renameio.WithPermissions(info.Mode().Perm()), renameio.WithTempDir(filepath.Dir(to)))
	if err != nil {
		return err
	}
	defer out.Cleanup() //nolint:errcheck // it is removed, or renamed already
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	if err := out.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return Dir(filepath.Dir(to)).sync()
}
