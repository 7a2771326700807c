package upgrade

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// unit is the keeper as systemd knows it. It is started at boot as well, and does nothing then unless an order is left.
const unit = "piswarm-upgrade.service"

// KeepCommand is the command line of the keeper.
var KeepCommand = []string{"agent", "upgrade"}

// hasSystemd tells whether systemd runs this machine.
func hasSystemd() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

// start starts the keeper.
func (t Target) start(ctx context.Context) error {
	if hasSystemd() {
		// Upgrades that failed do not keep a new one from its start. Of a unit that it has not loaded systemd says that it is an
		// error, and it is none.
		_, _ = run(ctx, askLimit, "systemctl", "reset-failed", unit)
		if _, err := run(ctx, askLimit, "systemctl", "start", unit); err != nil {
			return fmt.Errorf("start %s, which comes with the Debian package: %w", unit, err)
		}
		return nil
	}
	cmd := exec.Command(t.Dir.path(keeper), KeepCommand...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // signals for the agent are not for it
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the program that exchanges this one: %w", err)
	}
	go func() { _ = cmd.Wait() }() // until the agent's own end, which is the purpose
	return nil
}

// Resume goes on with what a power cut interrupted, where no systemd does.
func (t Target) Resume(ctx context.Context) error {
	_, due, err := t.Dir.ordered()
	if err != nil || !due || hasSystemd() {
		return err
	}
	if _, err := os.Stat(t.Dir.path(keeper)); errors.Is(err, os.ErrNotExist) {
		return t.Dir.clear() // it was done, and the power went while it cleared up
	}
	return t.start(ctx)
}
