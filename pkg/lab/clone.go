package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Clone replaces a host's disk by a copy of another's, as one does with an SD card of a Pi that was set up already. Both
// have to be off. The copy has everything of the other, its machine ID too; of the host's own are its name, its MAC and
// its address.
func (l *Lab) Clone(ctx context.Context, from, to string) error {
	source, err := l.host(from)
	if err != nil {
		return err
	}
	target, err := l.host(to)
	if err != nil {
		return err
	}
	if source == target {
		return fmt.Errorf("clone %s: want two hosts", from)
	}
	// In one order whatever is copied to where, so that two copies do not wait for one another.
	first, second := source, target
	if first.name > second.name {
		first, second = second, first
	}
	first.op.Lock()
	defer first.op.Unlock()
	second.op.Lock()
	defer second.op.Unlock()
	for _, h := range []*host{source, target} {
		if h.machine() != nil {
			return fmt.Errorf("clone %s to %s: %s is on; power it off first", from, to, h.name)
		}
		// What went off by itself still has its cable and its cgroups.
		if err := h.kill(); err != nil {
			return err
		}
	}
	return target.copyDisk(ctx, source)
}

// copyDisk copies all that belongs to the disk. The overlay's own directory is not copied: the kernel makes it anew.
func (h *host) copyDisk(ctx context.Context, from *host) error {
	if err := os.RemoveAll(filepath.Join(h.dir, workDir)); err != nil {
		return err
	}
	for _, part := range []string{diskDir, upperDir} {
		path := filepath.Join(h.dir, part)
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		// cp keeps what a disk has besides plain files: devices, extended attributes, links, times.
		out, err := exec.CommandContext(ctx, "cp", "-a", "--", filepath.Join(from.dir, part), path).CombinedOutput()
		if err != nil {
			return fmt.Errorf("copy the disk of %s to %s: %w: %s", from.name, h.name, errors.Join(err, ctx.Err()), strings.TrimSpace(string(out)))
		}
	}
	return os.Mkdir(filepath.Join(h.dir, workDir), 0o755)
}
