package lab

import (
	"errors"
	"io"
	"os"
)

// maxLog is the size at which a log is put aside as its one predecessor.
const maxLog = 4 << 20

// openLog returns a file for a program's output that ends up in the log at path. It is a pipe, so that the log is
// bounded whatever the program writes. The reader ends with the host.
func openLog(path string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	log := &boundedLog{path: path, max: maxLog}
	if err := log.open(); err != nil {
		return nil, errors.Join(err, r.Close(), w.Close())
	}
	go func() {
		// A disk that is full must not stop the program: what cannot be written is dropped.
		for {
			if _, err := io.Copy(log, r); err == nil {
				return
			}
		}
	}()
	return w, nil
}

// boundedLog appends to a file and starts it anew when it is full.
type boundedLog struct {
	path string
	max  int64
	file *os.File
	size int64
}

func (b *boundedLog) open() error {
	file, err := os.OpenFile(b.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	b.file, b.size = file, info.Size()
	return nil
}

func (b *boundedLog) Write(p []byte) (int, error) {
	if b.size > 0 && b.size+int64(len(p)) > b.max {
		if err := errors.Join(b.file.Close(), os.Rename(b.path, b.path+".1"), b.open()); err != nil {
			return 0, err
		}
	}
	n, err := b.file.Write(p)
	b.size += int64(n)
	return n, err
}
