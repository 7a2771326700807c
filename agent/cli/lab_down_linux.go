package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/piswarm/piswarm/pkg/lab"
)

func newLabDownCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "down",
		Short:             "End the lab and remove everything of it",
		Long:              "End the lab and remove everything of it, also the disks. What a lab left that ended otherwise is removed, too.",
		Example:           `  piswarm lab down`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return labDown(cmd.Context(), a)
		},
		DisableFlagsInUseLine: true,
	}
}

func labDown(ctx context.Context, a *app) error {
	l, err := lab.Connect(ctx, labSocket)
	if errors.Is(err, lab.ErrNoLab) {
		return sweepLab(a, err)
	}
	if err != nil {
		return err
	}
	lock, err := os.Open(labLock)
	if err != nil {
		return fmt.Errorf("find the lab's process: %w", err)
	}
	defer lock.Close()
	if err := l.Down(ctx); err != nil {
		return err
	}
	// The kernel takes the lock from the owner when that has ended.
	for deadline := time.Now().Add(labDownWait); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the lab has ended, but its process has not after %s; %s may say why", labDownWait, labLog)
		}
	}
}

// sweepLab removes what a lab left whose owner was killed. Without any, the answer is that there is no lab.
func sweepLab(a *app, noLab error) error {
	_, disks := os.Stat(labDir)
	_, run := os.Stat(labRunDir)
	if errors.Is(disks, os.ErrNotExist) && errors.Is(run, os.ErrNotExist) {
		return noLab
	}
	// Whoever has the lock is about to serve a lab.
	lock, err := lockLab()
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := errors.Join(lab.Sweep(labDir), os.RemoveAll(labRunDir)); err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, "removed what an earlier lab had left")
	return nil
}

// errLabUp says that another process has the lab.
var errLabUp = errors.New("a lab is up already: `piswarm lab ls` shows it, `piswarm lab down` ends it")

// lockLab makes this process the one that may own the lab, until the file is closed.
func lockLab() (*os.File, error) {
	if err := os.MkdirAll(labRunDir, 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(labLock, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, errLabUp
	}
	return lock, nil
}
