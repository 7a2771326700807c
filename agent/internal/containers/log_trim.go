package containers

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// fastestTrim and slowestTrim bound how often logs are looked at while something writes to them.
	fastestTrim = 20 * time.Millisecond
	slowestTrim = 250 * time.Millisecond
)

// TrimLogs keeps the end of each container's output and gives the memory of the rest back, until ctx is done.
// While no container writes, it sleeps in the kernel. A container that floods its output is met with a rhythm
// that follows its speed: the logs are on a small tmpfs, and a shim that finds it full stops copying, upon which
// its container hangs in its next write.
func (r *Runtime) TrimLogs(ctx context.Context) error {
	if err := r.trimLogs(ctx); err != nil {
		return fmt.Errorf("trim logs in %s: %w", r.cfg.LogDir, err)
	}
	return nil
}

func (r *Runtime) trimLogs(ctx context.Context) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return err
	}
	// The runtime's poller waits for a non-blocking file, so that closing it wakes the reader.
	writes := os.NewFile(uintptr(fd), "inotify")
	defer writes.Close()
	stop := context.AfterFunc(ctx, func() { writes.Close() })
	defer stop()
	// Whoever follows a log has to hear of its end too.
	if _, err := unix.InotifyAddWatch(fd, r.cfg.LogDir, unix.IN_MODIFY|unix.IN_DELETE); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	for {
		// The kernel joins a write to the one before it that nobody has read yet, so a flood fills no queue.
		pause := r.trimPause()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		if _, err := writes.Read(buf); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
}

// trimPause trims all logs, notes when they grew, and says how long to wait before doing so again: until the fastest
// writer can have added half of what is kept.
func (r *Runtime) trimPause() time.Duration {
	entries, err := os.ReadDir(r.cfg.LogDir)
	if err != nil {
		r.cfg.Log.Warn("logs cannot be listed", "dir", r.cfg.LogDir, "error", err)
	}
	grown := int64(0)
	seen := make(map[string]bool, len(entries))
	for _, e := range entries {
		id, isLog := strings.CutSuffix(e.Name(), ".log")
		if !isLog {
			continue
		}
		st, err := trimLog(filepath.Join(r.cfg.LogDir, e.Name()), r.cfg.LogBytes)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				r.cfg.Log.Warn("log cannot be trimmed", "log", e.Name(), "error", err)
			}
			continue
		}
		seen[id] = true
		grown = max(grown, r.growth.note(id, st, r.cfg.LogBytes))
	}
	r.growth.keep(seen)
	if grown > r.cfg.LogBytes/8 {
		return fastestTrim
	}
	return slowestTrim
}

// trimLog punches a hole over all but the last keep bytes of a log, and returns what the log was. The writer has
// the file open and appends: cutting or replacing the file would race with it, a hole does not, and the offset of
// each byte stays what it was for those who read.
func trimLog(path string, keep int64) (st unix.Stat_t, err error) {
	if err := unix.Lstat(path, &st); err != nil {
		return st, err
	}
	// Holes begin and end at pages, or the page would stay and only be zeroed.
	end := (st.Size - keep) / int64(os.Getpagesize()) * int64(os.Getpagesize())
	// st.Blocks are of 512 bytes. A log that is cut short already costs this one question.
	if end <= 0 || st.Blocks*512 <= keep+int64(os.Getpagesize()) {
		return st, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return st, err
	}
	defer f.Close()
	return st, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, end)
}
