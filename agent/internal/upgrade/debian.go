package upgrade

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// debian is the way of a machine on which piswarm is a Debian package.
type debian struct {
	dir   Dir
	order order
}

// installLimit is for apt and dpkg on a Pi Zero, with what the package newly depends on.
const installLimit = 10 * time.Minute

// tree is where the old package is made anew.
const tree = "old"

// unpack takes the program out of the package.
func (d debian) unpack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", d.dir.path(offered))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	found := d.take(out)
	// It writes to nobody any more if the program was found.
	_ = out.Close()
	if err := cmd.Wait(); found != nil && err != nil {
		return fmt.Errorf("dpkg-deb: %w", err)
	}
	return found
}

// take writes the program out of the package's files.
func (d debian) take(files io.Reader) error {
	all := tar.NewReader(files)
	for {
		head, err := all.Next()
		if errors.Is(err, io.EOF) {
			return errors.New("there is no /usr/bin/piswarm in it")
		} else if err != nil {
			return err
		}
		if path.Clean("/"+head.Name) != "/usr/bin/piswarm" {
			continue
		}
		f, err := os.OpenFile(d.dir.path(candidate), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, all)
		return errors.Join(err, f.Close())
	}
}

// keep makes the old package anew out of what is installed: a package that was installed is not kept anywhere. It is done
// before anything changes, and not again after a power cut.
func (d debian) keep(ctx context.Context) error {
	if _, err := os.Stat(d.dir.path(kept)); err == nil {
		return nil
	}
	root := d.dir.path(tree)
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(root, "DEBIAN"), 0o755); err != nil {
		return err
	}
	stanza, err := ask(ctx, "dpkg-query", "--status", packageName)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, "DEBIAN", "control"), []byte(control(stanza)), 0o644); err != nil {
		return err
	}
	for _, script := range []string{"preinst", "postinst", "prerm", "postrm"} {
		from, err := ask(ctx, "dpkg-query", "--control-path", packageName, script)
		if err != nil {
			return err
		}
		if from == "" {
			continue // the package has none
		}
		if err := link(from, filepath.Join(root, "DEBIAN", script)); err != nil {
			return err
		}
	}
	if err := d.keepFiles(ctx, root); err != nil {
		return err
	}
	// Little pressing: it is for minutes, and a Pi Zero is slow.
	part := d.dir.path(kept) + ".part"
	if _, err := run(ctx, installLimit, "dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", root, part); err != nil {
		return err
	}
	if err := os.Rename(part, d.dir.path(kept)); err != nil {
		return err
	}
	return errors.Join(d.dir.sync(), os.RemoveAll(root))
}

// keepFiles links the package's files into root. The person's own settings stay out: dpkg would take them for the
// package's, and a later version's for news.
func (d debian) keepFiles(ctx context.Context, root string) error {
	list, err := ask(ctx, "dpkg-query", "--listfiles", packageName)
	if err != nil {
		return err
	}
	settings, err := ask(ctx, "dpkg-query", "--show", "--showformat=${Conffiles}", packageName)
	if err != nil {
		return err
	}
	for name := range strings.Lines(list) {
		name = strings.TrimSpace(name)
		info, err := os.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) || name == "/." || slices.Contains(strings.Fields(settings), name) {
			continue // someone removed it, or dpkg was told to leave it out
		} else if err != nil {
			return err
		}
		to := filepath.Join(root, name)
		if info.Mode().Type() == fs.ModeSymlink {
			// /lib is a link to usr/lib on machines of today, and a directory in packages.
			if info, err = os.Stat(name); err != nil {
				return err
			}
		}
		switch {
		case info.IsDir():
			err = os.MkdirAll(to, 0o755)
		case info.Mode().IsRegular():
			err = link(name, to)
		default:
			err = fmt.Errorf("%s is no ordinary file", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// control makes the head of a package out of what dpkg knows of one that is installed.
func control(stanza string) string {
	var out strings.Builder
	drop := false
	for line := range strings.Lines(stanza) {
		if !strings.HasPrefix(line, " ") { // a field begins
			drop = strings.HasPrefix(line, "Status:") || strings.HasPrefix(line, "Conffiles:")
		}
		if !drop {
			out.WriteString(line)
		}
	}
	return strings.TrimRight(out.String(), "\n") + "\n"
}

// exchange has apt install the package, with what it newly depends on; what a power cut left half-way is finished first.
// The package's own script restarts the agent.
func (d debian) exchange(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx) // a machine that goes down waits for dpkg
	if _, err := run(ctx, installLimit, "dpkg", "--configure", "-a", "--force-confold"); err != nil {
		return err
	}
	_, err := run(ctx, installLimit, "apt-get", "install", "--yes", "--quiet", "--allow-downgrades", "--no-remove", "--no-install-recommends",
		"-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Options::=--force-confold", d.dir.path(offered))
	return err
}

// goBack has dpkg install the old package. Where that cannot be done, the old program alone is better than nothing.
func (d debian) goBack(ctx context.Context) error {
	if _, err := os.Stat(d.dir.path(kept)); errors.Is(err, fs.ErrNotExist) {
		return nil // it did not come to an exchange
	}
	_, err := run(context.WithoutCancel(ctx), installLimit, "dpkg", "--force-confold,downgrade", "--install", d.dir.path(kept))
	if err != nil {
		return errors.Join(err, replace(d.dir.path(keeper), d.order.Program))
	}
	return nil
}
