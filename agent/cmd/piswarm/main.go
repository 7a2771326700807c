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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal asks for an orderly end; a second one, when that hangs, ends the program at once.
	context.AfterFunc(ctx, stop)
	return cli.Execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}
