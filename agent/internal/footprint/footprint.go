// Package footprint keeps the agent's memory as small as what it does all the time needs.
//
// Of a Go program's file the kernel maps what is touched and what lies around that, 64 KiB at a time, and keeps it mapped
// until memory is short. To start, the agent touches nearly all of its 28 MB. On an emulated Pi Zero (make test-image
// BOARD=zero) it had 25 MB of them a minute later, beside 7 MB of its own data. Of what it is made to let go it takes back
// within seconds what it goes on using, 15 MB of them, so that it has 21 MB where it had 33. The rest stays where it is, in
// the page cache, but is nobody's: the first to be given to a container that asks for memory, without a search for what was
// not used lately.
package footprint

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// settled is when a start is over.
	settled = time.Minute
	// again is how often what was needed once, to load an image or to answer a person, is let go. As often Go collects
	// its garbage anyway where little happens.
	again = 2 * time.Minute
)

// Run keeps it small until ctx ends.
func Run(ctx context.Context) error {
	timer := time.NewTimer(settled)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		debug.FreeOSMemory()
		if err := letGo(); err != nil {
			return err
		}
		timer.Reset(again)
	}
}

// letGo takes the program's file out of the process' memory. What is used comes back, from the page cache.
func letGo() error {
	all, err := mappings()
	if err != nil {
		return fmt.Errorf("let go of memory: %w", err)
	}
	for _, m := range all {
		// Where something was written, it would come back as it is in the file.
		if m.written != 0 {
			continue
		}
		if _, _, failed := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED); failed != 0 {
			return fmt.Errorf("let go of memory: madvise: %w", failed)
		}
	}
	return nil
}

// mapping is a part of the program's file in this process.
type mapping struct {
	start, end uintptr
	resident   int64 // bytes
	written    int64 // bytes that differ from the file
}

// mappings are those that cannot be written.
func mappings() ([]mapping, error) {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []mapping
	var in *mapping // nil in one of no interest
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		key, value, _ := strings.Cut(line, " ")
		if !strings.HasSuffix(key, ":") { // 00400000-01239000 r-xp 00000000 08:01 1234   /usr/bin/piswarm
			in = nil
			from, to, ok := strings.Cut(key, "-")
			rights, _, _ := strings.Cut(value, " ")
			if !ok || rights != "r-xp" && rights != "r--p" || !strings.HasSuffix(line, " "+program) {
				continue
			}
			start, err := strconv.ParseUint(from, 16, strconv.IntSize)
			if err != nil {
				return nil, fmt.Errorf("smaps: %q: %w", line, err)
			}
			end, err := strconv.ParseUint(to, 16, strconv.IntSize)
			if err != nil {
				return nil, fmt.Errorf("smaps: %q: %w", line, err)
			}
			all = append(all, mapping{start: uintptr(start), end: uintptr(end)})
			in = &all[len(all)-1]
			continue
		}
		if in == nil || key != "Rss:" && key != "Anonymous:" {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("smaps: %q: %w", line, err)
		}
		if key == "Rss:" {
			in.resident = kib << 10
		} else {
			in.written = kib << 10
		}
	}
	return all, lines.Err()
}
