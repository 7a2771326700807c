package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/pkg/lab"
)

// newLabServeCommand is the process that owns the lab. lab up starts it.
func newLabServeCommand() *cobra.Command {
	var o labUpOptions
	cmd := &cobra.Command{
		Use:    "serve",
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			return serveLab(cmd.Context(), o)
		},
	}
	o.addFlags(cmd)
	return cmd
}

// labNewsFD is the pipe to lab up.
const labNewsFD = 3

// serveLab owns a lab until someone asks for its end.
func serveLab(ctx context.Context, o labUpOptions) error {
	unix.CloseOnExec(labNewsFD)
	news := &newsWriter{file: os.NewFile(labNewsFD, "news")}
	lock, err := lockLab()
	if err == nil {
		defer lock.Close()
		err = ownLab(ctx, o, news)
		// The lock file goes while the lock is held, and with it all that is left of the lab.
		if e := os.RemoveAll(labRunDir); err == nil {
			err = e
		}
	}
	if err != nil {
		news.tell(labNews{Error: err.Error()})
	}
	return err
}

func ownLab(ctx context.Context, o labUpOptions, news *newsWriter) error {
	// Nobody sees what a process without terminal writes, for example when it crashes.
	log, err := os.OpenFile(labLog, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	for _, fd := range []int{1, 2} {
		if err := unix.Dup3(int(log.Fd()), fd, 0); err != nil {
			return err
		}
	}
	// What an owner left that was killed together with its sweeper.
	if err := lab.Sweep(labDir); err != nil {
		return err
	}
	starting, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		// lab up has gone. Once the lab is up, that changes nothing.
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	l, err := lab.Start(starting, lab.Options{
		Nodes:   o.nodes,
		Binary:  "/proc/self/exe",
		Dir:     labDir,
		Token:   trust.NewSecret().Token(),
		Forward: o.forward,
		Log:     func(line string) { news.tell(labNews{Line: line}) },
	})
	if err != nil {
		return err
	}
	return lab.Serve(ctx, l, labSocket, func() {
		news.tell(labNews{Up: true})
		news.close()
	})
}

// newsWriter tells lab up what happens, as long as it listens.
type newsWriter struct {
	mu   sync.Mutex
	file *os.File
}

func (n *newsWriter) tell(news labNews) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.file == nil {
		return
	}
	if err := json.NewEncoder(n.file).Encode(news); errors.Is(err, unix.EPIPE) {
		n.file.Close()
		n.file = nil
	}
}

func (n *newsWriter) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.file != nil {
		n.file.Close()
		n.file = nil
	}
}
