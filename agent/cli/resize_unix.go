//go:build unix

package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// onResize calls f whenever the terminal has another size, until stop.
func onResize(ctx context.Context, f func()) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer signal.Stop(resized)
		for {
			select {
			case <-ctx.Done():
				return
			case <-resized:
				f()
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}
