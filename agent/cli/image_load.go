package cli

import (
	"errors"
	"io"
	"os"
	"sync"

	"github.com/moby/term"
	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

func newImageLoadCommand(a *app) *cobra.Command {
	var input string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "load [OPTIONS]",
		Short: "Load images from a tar file, for the whole cluster",
		Long: `Load images from a tar file, as docker save and OCI builders write it. One node is enough: the others fetch the
image from it when they need it.`,
		Example: `  piswarm image load -i greeter.tar
  docker save greeter | piswarm image load`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runImageLoad(cmd, a, input, quiet)
		},
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().StringVarP(&input, "input", "i", "", "tar `file` to read (default: standard input)")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print only what was loaded")
	return cmd
}

func runImageLoad(cmd *cobra.Command, a *app, input string, quiet bool) error {
	in, size, closeInput, err := openInput(cmd, a, input)
	if err != nil {
		return err
	}
	defer closeInput()
	c, err := a.connect()
	if err != nil {
		return err
	}
	progress := newImageProgress(a)
	if quiet {
		images, err := c.LoadImages(cmd.Context(), in, nil)
		if err != nil {
			return err
		}
		return progress.done("Loaded", images)
	}
	// The agent may be silent while it reads, so what is sent is shown from here. Both may report at a time.
	steps := &stepQueue{progress: progress}
	images, err := c.LoadImages(cmd.Context(), &sentReader{in: in, total: size, report: steps.add}, steps.add)
	steps.close()
	if err != nil {
		progress.clear()
		return err
	}
	return progress.done("Loaded", images)
}

// openInput opens the tar file; its size is 0 where that cannot be known.
func openInput(cmd *cobra.Command, a *app, name string) (in io.Reader, size int64, closeInput func(), err error) {
	if name == "" || name == "-" {
		if f, ok := a.stdin.(*os.File); ok && term.IsTerminal(f.Fd()) {
			return nil, 0, nil, usageErrorf(cmd, "%s needs a tar file: -i FILE, or one on standard input", cmd.Name())
		}
		return a.stdin, 0, func() {}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, 0, nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = errors.New(name + " is a directory: want a tar file")
	}
	if err != nil {
		f.Close()
		return nil, 0, nil, err
	}
	return f, info.Size(), func() { f.Close() }, nil
}

// sentReader reports how much of a file has been read.
type sentReader struct {
	in          io.Reader
	sent, total int64
	report      func(client.Progress)
}

func (r *sentReader) Read(p []byte) (int, error) {
	n, err := r.in.Read(p)
	if r.sent += int64(n); n > 0 {
		r.report(client.Progress{Message: "sending", Current: r.sent, Total: r.total})
	}
	return n, err
}

// stepQueue hands steps from several goroutines to one progress, in turn. After close it drops them: net/http may
// still read the file when the agent has answered.
type stepQueue struct {
	mu       sync.Mutex
	progress *imageProgress
	closed   bool
}

func (q *stepQueue) add(step client.Progress) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.progress.step(step)
	}
}

func (q *stepQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}
