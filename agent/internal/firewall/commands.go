package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// lockWait is how many seconds iptables waits for another iptables to end, and timeout is how long we
	// wait for ours: a Pi Zero with an SD card that is busy needs seconds to start a process.
	lockWait = "5"
	timeout  = 20 * time.Second

	// maxSave is far more than a thousand services have.
	maxSave = 16 << 20
	// maxMessage is enough of what a failed command says.
	maxMessage = 4 << 10
)

// commands is the real packet filter.
type commands struct {
	saver, restorer string // paths
	nft             bool   // they speak to nftables, not to the older ip_tables
	execs           atomic.Uint64
}

// findCommands finds the -save and -restore that go with an iptables command. They have the same suffix on
// every distribution, and where alternatives choose the variant, they choose all three together.
func findCommands(command string) (*commands, error) {
	saver, err := exec.LookPath(command + "-save")
	if err != nil {
		return nil, fmt.Errorf("find %s-save: %w", command, err)
	}
	restorer, err := exec.LookPath(command + "-restore")
	if err != nil {
		return nil, fmt.Errorf("find %s-restore: %w", command, err)
	}
	// All the commands of a variant are one program, which has the variant in its name.
	program, err := filepath.EvalSymlinks(saver)
	if err != nil {
		return nil, fmt.Errorf("find what %s is: %w", saver, err)
	}
	nft := strings.Contains(filepath.Base(program), "nft")
	return &commands{saver: saver, restorer: restorer, nft: nft}, nil
}

// save asks for all tables at once: that neither loads nor creates one that is not in use.
func (c *commands) save(ctx context.Context) (string, error) {
	return c.run(ctx, "", c.saver)
}

func (c *commands) restore(ctx context.Context, text string) error {
	_, err := c.run(ctx, text, c.restorer, "--noflush", "--wait", lockWait)
	return err
}

func (c *commands) run(ctx context.Context, stdin, path string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c.execs.Add(1)
	cmd := exec.CommandContext(ctx, path, args...)
	stdout, stderr := limited{max: maxSave}, limited{max: maxMessage, cut: true}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	// A child that outlives its parent must not hold us up by holding the pipe.
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return "", fmt.Errorf("%s: %w: %s", cmd, err, strings.Join(strings.Fields(stderr.buf.String()), " "))
	}
	return stdout.buf.String(), nil
}

// limited is a buffer that does not grow without end.
type limited struct {
	buf bytes.Buffer // not embedded: io.Copy would find its ReadFrom and pass Write by
	max int
	cut bool // drop what is too much, instead of failing
}

func (l *limited) Write(p []byte) (int, error) {
	if room := l.max - l.buf.Len(); len(p) > room {
		if !l.cut {
			return 0, errors.New("output too long")
		}
		l.buf.Write(p[:room])
		return len(p), nil
	}
	return l.buf.Write(p)
}
