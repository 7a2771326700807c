package snapshot

import (
	"errors"
	"os"
	"syscall"
)

// disk is what a save does to the machine's disk, one step at a time: each of them may fail, and before and after each
// of them the power may go.
type disk struct {
	write  func(path string, raw []byte) error // and has it on the disk for sure
	link   func(path, also string) error
	rename func(path, to string) error
	remove func(path string) error
	sync   func(dir string) error // makes what was done to names survive a power cut
}

var thisMachine = disk{write: writeSynced, link: os.Link, rename: os.Rename, remove: os.Remove, sync: syncDir}

func writeSynced(path string, raw []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// advice says what to do about an error of the disk, where that is known.
func advice(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return ": the disk is full, make room on it; the node saves by itself then"
	case errors.Is(err, syscall.EROFS):
		return ": the disk takes no writes any more, which an SD card does when it fails: copy it to a new one"
	case errors.Is(err, syscall.EIO):
		return ": the disk has errors: copy it to a new one"
	}
	return ""
}
