package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

// waitOptions are the flags of commands that change what runs.
type waitOptions struct {
	detach, quiet bool
}

func (o *waitOptions) addFlags(cmd *cobra.Command, quiet string) {
	cmd.Flags().BoolVarP(&o.detach, "detach", "d", false, "do not wait until the tasks run")
	cmd.Flags().BoolVarP(&o.quiet, "quiet", "q", false, quiet)
}

// say prints a line for people, unless told to be quiet.
func (o waitOptions) say(a *app, line string) error {
	if o.quiet {
		return nil
	}
	_, err := fmt.Fprintln(a.stdout, line)
	return err
}

// until waits, unless told otherwise, until the service is what was asked for, and shows the way there.
func (o waitOptions) until(ctx context.Context, a *app, c *client.Client, service string, g goal) error {
	if o.detach {
		return nil
	}
	f := &follower{
		client:  c,
		service: service,
		goal:    g,
		now:     a.now,
		pace:    a.pace,
		show:    o.display(a),
		changed: make(chan struct{}, 1),
	}
	err := f.run(ctx)
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("stopped waiting: %s goes on in the background, see piswarm ps %s", service, service)
	}
	return err
}

func (o waitOptions) display(a *app) display {
	if o.quiet {
		return quietDisplay{}
	}
	if s := newScreen(a.stdout); s != nil {
		return &barDisplay{screen: s}
	}
	return &plainDisplay{w: a.stdout}
}

// follower waits for one service: it reads the service and its tasks whenever an event says that something changed,
// and now and then besides.
type follower struct {
	client  *client.Client
	service string
	goal    goal
	now     func() time.Time
	pace    pace
	show    display
	changed chan struct{} // capacity 1: set while there is something new to read
}

func (f *follower) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		f.listen(ctx)
	}()
	defer func() {
		cancel()
		<-listening
	}()

	state := newConvergence(f.pace, f.now())
	heard := f.now()
	for {
		verdict := undecided
		v, err := f.read(ctx)
		now := f.now()
		switch {
		case notFound(err):
			return fmt.Errorf("%s was removed meanwhile", f.service)
		case err != nil && now.Sub(heard) >= f.pace.lost:
			return err
		case err == nil:
			heard = now
			var reason string
			verdict, reason = state.observe(now, v)
			f.show.show(v, verdict)
			switch verdict {
			case converged:
				return nil
			case givenUp:
				return &notConvergedError{f.service, reason}
			}
		}
		if err := f.wait(ctx, verdict); err != nil {
			return err
		}
	}
}

// read asks for the service and its tasks.
func (f *follower) read(ctx context.Context) (view, error) {
	s, err := f.client.Service(ctx, f.service)
	if err != nil {
		return view{}, err
	}
	tasks, err := f.client.Tasks(ctx, f.service)
	if err != nil {
		return view{}, err
	}
	return newView(s, tasks, f.goal), nil
}

// wait returns when it is time to read again.
func (f *follower) wait(ctx context.Context, v verdict) error {
	gap := time.NewTimer(f.pace.gap)
	defer gap.Stop()
	select {
	case <-gap.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	most := f.pace.poll
	if v == settling {
		most = min(most, f.pace.settle)
	}
	poll := time.NewTimer(most)
	defer poll.Stop()
	select {
	case <-f.changed:
	case <-poll.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// listen sets changed for every event that may concern the service, until the context ends. While the agent restarts
// there are no events, and the slow poll alone keeps the reading fresh.
func (f *follower) listen(ctx context.Context) {
	for ctx.Err() == nil {
		f.listenOnce(ctx)
		select {
		case <-time.After(f.pace.poll):
		case <-ctx.Done():
		}
	}
}

func (f *follower) listenOnce(ctx context.Context) {
	events, err := f.client.Events(ctx)
	if err != nil {
		return
	}
	defer events.Close()
	f.mark() // for what changed before the stream was open
	for {
		event, err := events.Next()
		if err != nil {
			return
		}
		ofOne := event.Kind == "service" || event.Kind == "plan"
		if f.service != "" && ofOne && event.Name != "" && event.Name != f.service {
			continue
		}
		f.mark()
	}
}

func (f *follower) mark() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}
