package containers

import (
	"context"
	"fmt"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/typeurl/v2"
	"github.com/google/uuid"
)

// EventType says what happened to a container.
type EventType string

const (
	EventStarted EventType = "started"
	EventExited  EventType = "exited"
	EventOOM     EventType = "oom" // the kernel killed a process of it for want of memory
	EventRemoved EventType = "removed"
	// EventResync says that events may have been missed: list again. It is the first event of all.
	EventResync EventType = "resync"
)

// Event is something that happened to a container.
type Event struct {
	Type     EventType
	ID       string // of the container; empty for EventResync
	ExitCode int    // for EventExited
}

const (
	// eventBuffer is how far a reader may fall behind before it is told to list again.
	eventBuffer = 64
	// confirmLimit is how long a new subscription may take to show that it works.
	confirmLimit = 10 * time.Second
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

// Events delivers what happens to containers until ctx is done, and then closes the channel. Whenever events may
// have been missed, because containerd restarted or the reader was slow, the next one is EventResync.
func (r *Runtime) Events(ctx context.Context) <-chan Event {
	out := make(chan Event, eventBuffer)
	go func() {
		defer close(out)
		ctx := r.inNamespace(ctx)
		pause := firstPause
		for ctx.Err() == nil {
			confirmed, err := r.follow(ctx, out)
			if ctx.Err() != nil {
				return
			}
			if confirmed {
				pause = firstPause
			}
			if pause == firstPause { // once for each time that containerd is away
				r.cfg.Log.Warn("events of containerd end, subscribing until it is back", "error", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
			pause = min(2*pause, longestPause)
		}
	}()
	return out
}

// topicConfirm is the topic of the event by which a subscription is known to work.
const topicConfirm = "/piswarm/subscribed"

// follow delivers the events of one subscription until it ends. confirmed tells whether it worked at all.
func (r *Runtime) follow(ctx context.Context, out chan<- Event) (confirmed bool, err error) {
	if err := r.reach(ctx); err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	filter := func(topic string) string { return fmt.Sprintf("namespace==%q,topic==%q", r.cfg.Namespace, topic) }
	in, errs := r.client.EventService().Subscribe(ctx,
		filter("/tasks/start"), filter("/tasks/exit"), filter("/tasks/oom"), filter("/containers/delete"), filter(topicConfirm))

	// A subscription exists some time after Subscribe returns. What happens in between would be in no event, and
	// not in a list made too early either. So it is asked to deliver an event of our own first.
	token := uuid.NewString()
	if err := r.confirm(ctx, token); err != nil {
		return false, r.explain(ctx, err)
	}
	late := time.NewTimer(confirmLimit)
	defer late.Stop()
	again := time.NewTicker(confirmLimit / 20)
	defer again.Stop()
	missed := true
	for {
		// A reader that is behind is not waited for: containerd would keep the events in its own memory.
		var resync chan<- Event
		if confirmed && missed {
			resync = out
		}
		select {
		case resync <- Event{Type: EventResync}:
			missed = false
		case envelope := <-in:
			event, mark := translate(envelope)
			switch {
			case mark == token:
				confirmed = true
				late.Stop()
				again.Stop()
			case event.Type == "" || missed:
			default:
				select {
				case out <- event:
				default:
					missed = true
				}
			}
		case <-again.C:
			if err := r.confirm(ctx, token); err != nil {
				return false, r.explain(ctx, err)
			}
		case <-late.C:
			return false, r.unavailable()
		case err := <-errs:
			return confirmed, r.explain(ctx, err)
		case <-ctx.Done():
			return confirmed, ctx.Err()
		}
	}
}

func (r *Runtime) confirm(ctx context.Context, token string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, confirmLimit, r.unavailable())
	defer cancel()
	return r.client.EventService().Publish(ctx, topicConfirm, &eventsapi.NamespaceUpdate{Name: token})
}

// translate reads an event of containerd. It returns no type for one that is of no interest, and the mark of one
// that confirms a subscription.
func translate(envelope *events.Envelope) (event Event, mark string) {
	if envelope == nil || envelope.Event == nil {
		return Event{}, ""
	}
	body, err := typeurl.UnmarshalAny(envelope.Event)
	if err != nil {
		return Event{}, ""
	}
	switch e := body.(type) {
	case *eventsapi.TaskStart:
		return Event{Type: EventStarted, ID: e.ContainerID}, ""
	case *eventsapi.TaskExit:
		// The exit of a process that was started beside the container's own is not the container's.
		if e.ID == e.ContainerID {
			return Event{Type: EventExited, ID: e.ContainerID, ExitCode: int(e.ExitStatus)}, ""
		}
	case *eventsapi.TaskOOM:
		return Event{Type: EventOOM, ID: e.ContainerID}, ""
	case *eventsapi.ContainerDelete:
		return Event{Type: EventRemoved, ID: e.ID}, ""
	case *eventsapi.NamespaceUpdate:
		return Event{}, e.Name
	}
	return Event{}, ""
}
