package containers

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Log reads what is left of the output of a container, from its first whole line on. At the end it gives io.EOF;
// reading on later gives what has been written since. The output of a container that was removed is gone.
func (r *Runtime) Log(id string) (io.ReadCloser, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	f, err := os.Open(r.logPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("log of container %s: there is none on this node: %w", id, fs.ErrNotExist)
	} else if err != nil {
		return nil, fmt.Errorf("log of container %s: %w", id, err)
	}
	return &logReader{f: f}, nil
}

// logReader reads a file that has a growing hole at its beginning (see trimLog). It prefers to end each read at
// the end of a line, so that a reader whom the hole overtakes is not left with half of one.
type logReader struct {
	f   *os.File
	pos int64
	// torn is set where the hole overtook the reader: what follows begins in the middle of a line.
	torn bool
	// open is set while what was read last is a line without its end.
	open bool
}

func (l *logReader) Close() error { return l.f.Close() }

func (l *logReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if err := l.skipHole(); err != nil {
			return 0, err
		}
		if l.torn && l.open {
			l.open = false
			p[0] = '\n'
			return 1, nil
		}
		n, err := l.f.ReadAt(p, l.pos)
		if n == 0 {
			return 0, err
		}
		// A hole that came between looking and reading reads as zeros.
		start := l.pos
		if err := l.skipHole(); err == nil && l.pos != start {
			continue
		}
		if last := bytes.LastIndexByte(p[:n], '\n'); last >= 0 {
			n = last + 1
		}
		l.pos += int64(n)
		if l.torn {
			i := bytes.IndexByte(p[:n], '\n')
			if i < 0 {
				continue
			}
			l.torn = false
			if n = copy(p, p[i+1:n]); n == 0 {
				continue
			}
		}
		l.open = p[n-1] != '\n'
		return n, nil
	}
}

// skipHole moves to the next byte that is data. At the end of the data it gives io.EOF.
func (l *logReader) skipHole() error {
	next, err := unix.Seek(int(l.f.Fd()), l.pos, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return io.EOF
	} else if err != nil {
		return err
	}
	if next != l.pos {
		l.pos, l.torn = next, true
	}
	return nil
}
