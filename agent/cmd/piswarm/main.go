// Command piswarm is the agent, the command line and the lab in one program.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/piswarm/piswarm/agent/cli"
)

func main() { os.Exit(run()) }

func run() int {
	if code, yes := asInit(); yes {
		return code
	}
	ctx, end := context.WithCancelCause(context.Background())
	defer end(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		// The first signal asks for an orderly end; a second one, when that hangs, ends the program at once.
		s := <-signals
		signal.Reset(os.Interrupt, syscall.SIGTERM)
		if s == syscall.SIGTERM {
			end(cli.ErrTerminated)
		}
		end(nil)
	}()
	return cli.Execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}
