// Command bench measures the figures that piswarm promises, on labs of three and of five virtual Pis, and prints each
// beside its target. It judges and does not enforce: a missed target is a line in a table, and only a figure that could
// not be measured makes it fail. It owns the labs that it starts and the file that it writes, and touches nothing else.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/piswarm/piswarm/agent/internal/trust"
)

// section measures what belongs together.
type section struct {
	name    string
	nodes   int // Pis of the lab that it is measured on
	limit   time.Duration
	measure func(context.Context, *shelf) ([]figure, error)
}

var sections = []section{
	{"idle", 3, 5 * time.Minute, measureIdle},
	{"replace", 3, 5 * time.Minute, measureReplacement},
	{"scale", 3, 10 * time.Minute, measureScale},
	{"traffic", 3, 5 * time.Minute, measureTraffic},
	{"ingress", 3, 20 * time.Minute, measureIngress},
	{"page", 3, 10 * time.Minute, measurePage},
	{"powercut", 3, 15 * time.Minute, measurePowerCut},
	{"powercut", 5, 15 * time.Minute, measurePowerCut},
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == bareCommand {
		if err := serveBare(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench: bare client:", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) == 2 && os.Args[1] == responderCommand {
		fmt.Fprintln(os.Stderr, "bench: responder:", serveResponder())
		os.Exit(1)
	}
	if len(os.Args) > 2 && os.Args[1] == memberCommand {
		serveMemberAndExit()
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	out := flag.String("o", "bench.json", "write the figures to `FILE`")
	build := flag.String("build", "build", "`directory` of the built programs and the greeter image")
	only := flag.String("only", "", "measure these `sections` alone, separated by commas: binary, detection, rules, conntrack, idle, replace, scale, traffic, ingress, page, powercut")
	lossy := flag.Duration("lossy", time.Minute, "`how long` bare members lose packets to find out whether one is taken for dead")
	flag.Parse()
	wanted := func(name string) bool {
		return *only == "" || strings.Contains(","+*only+",", ","+name+",")
	}
	var all []figure
	if wanted("binary") {
		found, err := measureBinaries(*build)
		if err != nil {
			return err
		}
		all = append(all, found...)
	}
	if wanted("detection") {
		found, err := measureDetection(ctx, *lossy)
		if err != nil {
			return fmt.Errorf("detection: %w", err)
		}
		all = append(all, found...)
	}
	for _, part := range []struct {
		name    string
		limit   time.Duration
		measure func(context.Context) ([]figure, error)
	}{{"rules", 10 * time.Minute, measureRules}, {"conntrack", 5 * time.Minute, measureConntrack}} {
		if !wanted(part.name) {
			continue
		}
		found, err := judged(ctx, part.name, part.limit, part.measure)
		if err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		all = append(all, found...)
	}
	var err error
	for _, nodes := range []int{3, 5} {
		found, failed := measureLab(ctx, *build, nodes, wanted)
		all = append(all, found...)
		if err = failed; err != nil {
			break
		}
	}
	// What was measured before something went wrong is worth keeping.
	printTable(os.Stdout, all)
	for _, f := range all {
		if f.Busy {
			fmt.Println("The machine had other work: run this again on a quiet one before a time is believed.")
			break
		}
	}
	if writeErr := writeJSON(*out, all); err == nil {
		err = writeErr
	}
	return err
}

// measureLab measures what is wanted of a lab of so many Pis.
func measureLab(ctx context.Context, build string, nodes int, wanted func(string) bool) (all []figure, err error) {
	var todo []section
	for _, s := range sections {
		if s.nodes == nodes && wanted(s.name) {
			todo = append(todo, s)
		}
	}
	if len(todo) == 0 {
		return nil, nil
	}
	progress("%d virtual Pis are switched on", nodes)
	shelf, err := newShelf(ctx, build, trust.NewSecret().Token(), nodes)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closeErr := shelf.close(); err == nil {
			err = closeErr
		}
	}()
	for _, s := range todo {
		found, err := shelf.measure(ctx, s)
		if err != nil {
			return all, fmt.Errorf("%s: %w", s.name, err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// measure runs one section on the lab, and leaves it empty.
func (s *shelf) measure(ctx context.Context, part section) ([]figure, error) {
	found, err := judged(ctx, part.name, part.limit, func(ctx context.Context) ([]figure, error) { return part.measure(ctx, s) })
	if err != nil {
		return nil, err
	}
	return found, s.clear(ctx)
}

// judged runs one section and notes with its figures whether the machine was quiet enough to judge by them.
func judged(ctx context.Context, name string, limit time.Duration, measure func(context.Context) ([]figure, error)) ([]figure, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	progress("%s", name)
	before := freeShare()
	found, err := measure(ctx)
	if err != nil {
		return nil, err
	}
	free := min(before, freeShare())
	if free < calm {
		progress("the machine is too busy to judge by times: a program got %.0f %% of its processors", 100*free)
	}
	for i := range found {
		found[i].judge()
		if free < calm && !found[i].steady {
			found[i].Busy = true
			found[i].Note = join(found[i].Note, fmt.Sprintf("machine busy, %.0f %% of it free", 100*free))
		}
	}
	return found, nil
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}
