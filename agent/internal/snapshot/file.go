package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/piswarm/piswarm/pkg/state"
)

const (
	fileName    = "state"
	prevSuffix  = ".prev"
	tempSuffix  = ".tmp"
	badInfix    = ".corrupt-"
	keepCorrupt = 3
)

// clockMargin is added to the clock of a previous copy. The lost file may have had a greater one, up to which
// this node has acknowledged records and given out versions; its new writes must not come to lie below that.
const clockMargin = 1 << 20

// File is the state file of one node. It is safe for use by many goroutines.
type File struct {
	path string
	disk disk

	mu     sync.Mutex
	last   []byte // what is on disk for sure; nil if that is not known
	writes uint64
}

// Open reads the state file in dir, which is made if missing. A corrupt file is set aside and named in the log,
// and the previous copy stands in; if there is none either, the contents are empty and peers will refill them.
// An error means that the directory cannot be used.
func Open(dir string, log *slog.Logger) (*File, Contents, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, Contents{}, fmt.Errorf("state directory: %w", err)
	}
	f := &File{path: filepath.Join(dir, fileName), disk: thisMachine}
	c, raw, err := load(f.path, log)
	if err != nil {
		return nil, Contents{}, err
	}
	if raw != nil {
		f.last = raw
		return f, c, nil
	}
	c, raw, err = load(f.path+prevSuffix, log)
	if err != nil {
		return nil, Contents{}, err
	}
	if raw != nil {
		log.Warn("state file lost, going on with its previous copy", "file", f.path+prevSuffix)
		c.State.Clock = min(c.State.Clock+clockMargin, state.MaxCounter)
	}
	return f, c, nil
}

// load reads one file. It returns no bytes if there is none, or none that is whole; the latter is set aside.
func load(path string, log *slog.Logger) (Contents, []byte, error) {
	raw, err := read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Contents{}, nil, nil
	}
	var c Contents
	if err == nil {
		c, err = decode(raw)
	}
	if err == nil {
		return c, raw, nil
	}
	aside, asideErr := setAside(path)
	if asideErr != nil {
		return Contents{}, nil, fmt.Errorf("%s is corrupt (%w) and cannot be set aside: %w", path, err, asideErr)
	}
	log.Error("state file is corrupt, set aside", "file", path, "error", err, "kept", aside)
	return Contents{}, nil, nil
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1)) // One byte too many breaks the checksum.
}

// setAside renames a file to the next free .corrupt-N and removes the oldest of more than keepCorrupt.
func setAside(path string) (string, error) {
	dir, name := filepath.Split(path)
	base, _ := strings.CutSuffix(name, prevSuffix)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	next := 1
	var numbers []int
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), base+badInfix)
		if n, err := strconv.Atoi(digits); ok && err == nil {
			numbers = append(numbers, n)
			next = max(next, n+1)
		}
	}
	numbered := func(n int) string { return filepath.Join(dir, base+badInfix+strconv.Itoa(n)) }
	if err := os.Rename(path, numbered(next)); err != nil {
		return "", err
	}
	for _, n := range numbers {
		if n <= next-keepCorrupt {
			if err := os.Remove(numbered(n)); err != nil {
				return "", err
			}
		}
	}
	return numbered(next), nil
}

// Save brings the contents to disk, unless they are there already. When it returns nil they survive a power
// cut. When it returns an error, the file is as it was before, or whole and new.
func (f *File) Save(c Contents) error {
	raw, err := encode(c)
	if err != nil {
		return fmt.Errorf("save %s: %w", f.path, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last != nil && bytes.Equal(raw, f.last) {
		return nil
	}
	f.writes++
	f.last = nil
	if err := f.replace(raw); err != nil {
		return fmt.Errorf("save %s: %w%s", f.path, err, advice(err))
	}
	f.last = raw
	return nil
}

// Writes returns how often Save has gone to disk.
func (f *File) Writes() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.writes
}

// replace puts the bytes in the file's place and keeps the former file. At every moment the name belongs to
// a whole file, for the former one gets its second name by a link before the new one takes the first.
func (f *File) replace(raw []byte) error {
	temp, prev := f.path+tempSuffix, f.path+prevSuffix
	if err := f.disk.write(temp, raw); err != nil {
		return errors.Join(err, f.removeIfThere(temp))
	}
	if err := f.removeIfThere(prev + tempSuffix); err != nil {
		return err
	}
	err := f.disk.link(f.path, prev+tempSuffix)
	if err == nil {
		// After a power cut in the middle of this, both may name one file already, and rename then does nothing.
		err = errors.Join(f.disk.rename(prev+tempSuffix, prev), f.removeIfThere(prev+tempSuffix))
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil // The first save, or the first after a loss: then prev is the only copy and stays.
	}
	if err != nil {
		return fmt.Errorf("keep the previous copy: %w", err)
	}
	if err := f.disk.rename(temp, f.path); err != nil {
		return err
	}
	return f.disk.sync(filepath.Dir(f.path))
}

func (f *File) removeIfThere(path string) error {
	if err := f.disk.remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
