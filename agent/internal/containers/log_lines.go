package containers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// maxLine bounds a line of output in bytes; a longer one comes in parts, as docker's do.
const maxLine = 16 << 10

// Line is a line of a container's output, without its end.
type Line struct {
	Text    string
	Time    time.Time // at which it was there
	Partial bool      // it goes on with the next one
	At      string    // where it ends, for LinesQuery.After
}

// LinesQuery says which lines are wanted.
type LinesQuery struct {
	// After is what was read up to. In another container's output of the same ID, or if empty, all is wanted that follows.
	After  string
	Tail   int       // so many of those that are there; negative: all
	Since  time.Time // none that is older
	Follow bool      // wait for more, until the container is removed
}

// Lines calls each for the lines of a container's output. The error of each ends it and is returned. While it follows, it
// hears of new output from TrimLogs.
func (r *Runtime) Lines(ctx context.Context, id string, q LinesQuery, each func(Line) error) error {
	opened, err := r.Log(id)
	if err != nil {
		return err
	}
	defer opened.Close()
	log, ok := opened.(*logReader)
	if !ok {
		return fmt.Errorf("log of container %s: a %T has no lines", id, opened)
	}
	inode, _, err := statLog(log.f)
	if err != nil {
		return fmt.Errorf("log of container %s: %w", id, err)
	}
	if pos, ok := positionOf(q.After, inode); ok {
		log.pos = pos
	} else if q.Tail >= 0 {
		if err := log.skipTo(q.Tail); err != nil {
			return fmt.Errorf("log of container %s: %w", id, err)
		}
	}
	err = r.eachLine(ctx, id, log, q.Follow, func(text []byte, end int64, partial bool) error {
		when := r.growth.when(id, end)
		if when.Before(q.Since) {
			return nil
		}
		return each(Line{
			Text: strings.ToValidUTF8(string(text), "\uFFFD"), Time: when, Partial: partial,
			At: fmt.Sprintf("%d:%d", inode, end),
		})
	})
	if err != nil {
		return fmt.Errorf("log of container %s: %w", id, err)
	}
	return nil
}

// statLog returns the inode of an open log, and whether it still has a name.
func statLog(f *os.File) (inode uint64, named bool, err error) {
	var st unix.Stat_t
	err = unix.Fstat(int(f.Fd()), &st)
	return st.Ino, st.Nlink > 0, err
}

// positionOf reads what Line.At says, if it is of that log.
func positionOf(at string, inode uint64) (int64, bool) {
	first, second, ok := strings.Cut(at, ":")
	if !ok || first != strconv.FormatUint(inode, 10) {
		return 0, false
	}
	pos, err := strconv.ParseInt(second, 10, 64)
	return pos, err == nil && pos >= 0
}

// skipTo passes over all but the last n lines of what is there.
func (l *logReader) skipTo(n int) error {
	counter := &logReader{f: l.f}
	lines, open := 0, false
	buf := make([]byte, 32<<10)
	for {
		k, err := counter.Read(buf)
		lines += bytes.Count(buf[:k], []byte{'\n'})
		if k > 0 {
			open = buf[k-1] != '\n'
		}
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	if n == 0 {
		l.pos = counter.pos
		return nil
	}
	if open {
		lines++
	}
	for skip := lines - n; skip > 0; {
		k, err := l.Read(buf)
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		for i, b := range buf[:k] {
			if b != '\n' {
				continue
			}
			if skip--; skip == 0 {
				l.pos -= int64(k - i - 1)
				l.open = false
				break
			}
		}
	}
	return nil
}

// eachLine calls each for all lines, with the offset at which each ends.
func (r *Runtime) eachLine(ctx context.Context, id string, log *logReader, follow bool, each func(text []byte, end int64, partial bool) error) error {
	var rest []byte
	buf := make([]byte, 32<<10)
	for {
		changed := r.growth.changed(id) // before what it tells of is read
		_, named, err := statLog(log.f)
		if err != nil {
			return err
		}
		n, err := log.Read(buf)
		rest = append(rest, buf[:n]...)
		for {
			length, partial := nextLine(rest)
			if length == 0 {
				break
			}
			text := bytes.TrimSuffix(rest[:length], []byte{'\n'})
			if err := each(text, log.pos-int64(len(rest)-length), partial); err != nil {
				return err
			}
			rest = append(rest[:0], rest[length:]...)
		}
		switch {
		case err == nil:
			continue
		case !errors.Is(err, io.EOF):
			return err
		case !follow || !named:
			if len(rest) > 0 {
				return each(rest, log.pos, false)
			}
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

// nextLine returns how long the first line is, with its end, and whether it is only a part of one; 0 if more of it is to
// come.
func nextLine(text []byte) (length int, partial bool) {
	if i := bytes.IndexByte(text[:min(len(text), maxLine+1)], '\n'); i >= 0 {
		return i + 1, false
	}
	if len(text) <= maxLine {
		return 0, false
	}
	// No character is cut in two.
	cut := maxLine
	for cut > maxLine-utf8.UTFMax && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return cut, true
}
