package upgrade

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
)

// packageName is that of the Debian package.
const packageName = "piswarm"

// askLimit is for a program that only tells something. A Pi Zero takes a second to start dpkg.
const askLimit = 20 * time.Second

// Target is this machine, whose piswarm may be exchanged.
type Target struct {
	Dir     Dir
	Program string // path of the agent's
	Version string // of the agent
}

// Installed says how piswarm is installed here, and how the last upgrade went.
func (t Target) Installed(ctx context.Context) (client.Upgrade, error) {
	state, err := t.Dir.state()
	if err != nil {
		return client.Upgrade{}, err
	}
	u := client.Upgrade{Version: t.Version, Last: state}
	packaged, err := t.packaged(ctx)
	if err != nil {
		return client.Upgrade{}, err
	}
	if packaged {
		u.Kind = client.UpgradePackage
		if u.Platform, err = ask(ctx, "dpkg", "--print-architecture"); err == nil {
			u.Installed, err = ask(ctx, "dpkg-query", "--show", "--showformat=${Version}", packageName)
		}
		return u, err
	}
	u.Kind, u.Platform = client.UpgradeProgram, platform()
	u.Installed, err = sumOf(t.Program)
	return u, err
}

// packaged tells whether the agent's program came with the Debian package.
func (t Target) packaged(ctx context.Context) (bool, error) {
	files, err := ask(ctx, "dpkg-query", "--listfiles", packageName)
	var ended *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.As(err, &ended) && ended.ExitCode() == 1: // there is no dpkg, or no such package
		return false, nil
	case err != nil:
		return false, fmt.Errorf("is piswarm installed as a Debian package here? %w", err)
	}
	return slices.Contains(strings.Split(files, "\n"), t.Program), nil
}

// platform is what this program was built for, as the names of the releases' programs have it: linux-armv6.
func platform() string {
	p := runtime.GOOS + "-" + runtime.GOARCH
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "GOARM" {
				version, _, _ := strings.Cut(s.Value, ",") // 6,softfloat
				p += "v" + version
			}
		}
	}
	return p
}

func sumOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// ask runs a program that tells something, and returns the line that it says.
func ask(ctx context.Context, name string, args ...string) (string, error) {
	return run(ctx, askLimit, name, args...)
}

// maxSaid bounds what a program says about why it failed.
const maxSaid = 500

// run runs a program and returns what it prints. Where it fails, its last words are in the error.
func run(ctx context.Context, limit time.Duration, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	cmd.WaitDelay = time.Second // what it started may hold its output open
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		said := strings.Join(strings.Fields(errs.String()), " ")
		return "", fmt.Errorf("%s: %w: %s", name, err, said[max(0, len(said)-maxSaid):])
	}
	return strings.TrimSpace(out.String()), nil
}
