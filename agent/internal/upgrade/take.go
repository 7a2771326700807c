package upgrade

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/piswarm/piswarm/pkg/client"
)

// ErrRefused is in an error when what was offered is not taken, and nothing was done.
var ErrRefused = errors.New("not taken")

// room is what an upgrade needs besides the file itself: the new program unpacked twice, the old package.
const room = 96 << 20

// Take takes in what is to be installed, looks at it as far as that is quickly done, and has the keeper install it. Tasks
// are the IDs of those that run here. When it fails, nothing has changed.
func (t Target) Take(ctx context.Context, file client.UpgradeFile, body io.Reader, tasks []string) (err error) {
	if err := os.MkdirAll(string(t.Dir), 0o700); err != nil {
		return err
	}
	unlock, ok, err := t.Dir.lock()
	if err != nil {
		return err
	}
	if _, due, _ := t.Dir.ordered(); !ok || due {
		if ok {
			unlock()
		}
		return fmt.Errorf("%w: another upgrade of this node is under way", ErrRefused)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.Dir.clear())
		}
		unlock()
	}()
	// What a power cut left of one that was done, an old package above all, is not for this one to go back to.
	if err := t.Dir.clear(); err != nil {
		return err
	}
	if err := t.enough(file.Size); err != nil {
		return err
	}
	if err := t.receive(file, body); err != nil {
		return err
	}
	if err := t.check(ctx, file); err != nil {
		return err
	}
	// The one that runs, also when its file was replaced since.
	if err := replace("/proc/self/exe", t.Dir.path(keeper)); err != nil {
		return err
	}
	if err := t.Dir.write(stateFile, client.UpgradeState{State: client.UpgradeWorking, SHA256: file.SHA256, Message: "getting ready"}); err != nil {
		return err
	}
	o := order{Kind: file.Kind, SHA256: file.SHA256, Program: t.Program, From: t.Version, Tasks: tasks}
	if err := t.Dir.write(orderFile, o); err != nil {
		return err
	}
	unlock() // to the keeper; a second time it does nothing
	// Whoever asked may go now: it is ordered.
	if err := t.start(context.WithoutCancel(ctx)); err != nil {
		again, ok, lockErr := t.Dir.lock()
		if lockErr == nil && !ok {
			return nil // the keeper has it, whatever was said
		}
		if ok {
			unlock = again
		}
		return errors.Join(err, lockErr)
	}
	return nil
}

// enough sees to it that there is room on the disk, for dpkg does not like to run out of it half-way.
func (t Target) enough(size int64) error {
	for _, dir := range []string{string(t.Dir), filepath.Dir(t.Program)} {
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err != nil {
			return fmt.Errorf("look how full %s is: %w", dir, err)
		}
		free := int64(s.Bavail) * int64(s.Bsize)
		if free < size+room {
			return fmt.Errorf("%w: %d MB are free at %s, and %d MB are needed: piswarm image rm, or apt-get clean, makes room", ErrRefused, free>>20, dir, (size+room)>>20)
		}
	}
	return nil
}

// receive writes the file, and looks whether it is the one that was meant.
func (t Target) receive(file client.UpgradeFile, body io.Reader) error {
	f, err := os.OpenFile(t.Dir.path(offered), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(body, file.Size+1))
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: the disk is full", ErrRefused)
	case err != nil:
		return fmt.Errorf("%w: it broke off after %d of %d bytes: %w", ErrRefused, n, file.Size, err)
	case n != file.Size || hex.EncodeToString(sum.Sum(nil)) != file.SHA256:
		return fmt.Errorf("%w: what came is not what was sent: try again", ErrRefused)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}

// check looks whether the file is for this machine.
func (t Target) check(ctx context.Context, file client.UpgradeFile) error {
	packaged, err := t.packaged(ctx)
	switch {
	case err != nil:
		return err
	case file.Kind == client.UpgradeProgram && !packaged:
		return nil // the keeper tries it
	case file.Kind == client.UpgradeProgram:
		return fmt.Errorf("%w: piswarm is installed as a Debian package here", ErrRefused)
	case !packaged:
		return fmt.Errorf("%w: piswarm is not installed as a Debian package here", ErrRefused)
	}
	text, err := ask(ctx, "dpkg-deb", "--show", "--showformat=${Package} ${Architecture} ${Version}", t.Dir.path(offered))
	if err != nil {
		return fmt.Errorf("%w: this is no Debian package: %w", ErrRefused, err)
	}
	have, err := t.Installed(ctx)
	if err != nil {
		return err
	}
	fields := strings.Fields(text)
	switch {
	case len(fields) != 3 || fields[0] != packageName:
		return fmt.Errorf("%w: this is the package %.100q, not %s", ErrRefused, text, packageName)
	case fields[1] != have.Platform:
		return fmt.Errorf("%w: the package is for %s, and this machine is %s", ErrRefused, fields[1], have.Platform)
	case file.Downgrade:
		return nil
	}
	// Its exit code is the answer.
	if _, err := ask(ctx, "dpkg", "--compare-versions", fields[2], "lt", have.Installed); err == nil {
		return fmt.Errorf("%w: %s is older than %s, which is installed, and may not understand what that one wrote: --allow-downgrade does it all the same", ErrRefused, fields[2], have.Installed)
	}
	return nil
}
