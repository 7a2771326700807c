package dashboard

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
)

const (
	// maxViewers bounds the streams that are open at once, and maxUnsigned those of them that anyone may open.
	maxViewers, maxUnsigned = 48, 24
	// retry is how long after a look that failed the next one is tried.
	retry = time.Second
)

// hub shows scenes to viewers.
type hub struct {
	client *client.Client
	log    *slog.Logger
	came   trigger // a viewer, the first perhaps
	went   trigger

	mu       sync.Mutex
	viewers  map[*viewer]bool
	unsigned int
	now      *scene // nil until it was looked, and while nobody is there to look for
	trouble  string // why that fails
	// before and step lead to the present scene from the one before it, which most viewers have.
	before *scene
	step   []byte
	lines  []line // what happened, the latest last
	count  uint64 // of all lines there ever were
}

// viewer is a browser that looks. What it was shown is for its own goroutine alone.
type viewer struct {
	signed  bool
	changed trigger
	shown   *scene
	trouble string
	read    uint64 // lines
}

// trigger wakes whoever waits. Any number of calls before that are one.
type trigger chan struct{}

func (t trigger) set() {
	select {
	case t <- struct{}{}:
	default:
	}
}

func newHub(c *client.Client, log *slog.Logger) *hub {
	return &hub{client: c, log: log, came: make(trigger, 1), went: make(trigger, 1), viewers: map[*viewer]bool{}}
}

var errCrowd = errors.New("too many look at this node already: try another one")

// join adds a viewer, who is to leave.
func (h *hub) join(signed bool) (*viewer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.viewers) >= maxViewers || !signed && h.unsigned >= maxUnsigned {
		return nil, errCrowd
	}
	v := &viewer{signed: signed, changed: make(trigger, 1)}
	v.changed.set() // to see what there is
	h.viewers[v] = true
	if !signed {
		h.unsigned++
	}
	h.came.set()
	return v, nil
}

func (h *hub) leave(v *viewer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.viewers, v)
	if !v.signed {
		h.unsigned--
	}
	h.went.set()
}

func (h *hub) watched() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.viewers) > 0
}

// run follows the cluster while there are viewers, until ctx ends.
func (h *hub) run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.came:
		}
		for h.watched() && ctx.Err() == nil {
			if err := h.follow(ctx); err != nil && ctx.Err() == nil {
				h.log.Debug("the page cannot be kept up to date", "error", err)
				h.fail(err)
				wait(ctx, retry)
			}
		}
		h.forget()
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// follow looks at the cluster whenever it changes, until nobody is there any more.
func (h *hub) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	events, err := h.client.Events(ctx)
	if err != nil {
		cancel()
		return err
	}
	var parts sync.WaitGroup
	defer parts.Wait()
	defer events.Close()
	defer cancel()
	dirty, ended, measured := make(trigger, 1), make(chan error, 1), make(chan map[string]vitals)
	parts.Go(func() {
		for {
			e, err := events.Next()
			if err != nil {
				ended <- err
				return
			}
			h.tell(e)
			dirty.set()
		}
	})
	parts.Go(func() { h.measure(ctx, measured) })
	known := map[string]vitals{}
	allowed := newAllowance(time.Now())
	var pause <-chan time.Time // until it may be looked again
	for stale := true; ; {
		if stale && pause == nil {
			stale = false
			begun := time.Now()
			s, err := look(ctx, h.client)
			if err != nil {
				return err
			}
			s.vitals = ready(s, known)
			h.show(s)
			pause = time.After(allowed.pause(time.Now(), time.Since(begun)))
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return err
		case <-dirty:
			stale = true
		case <-pause:
			pause = nil
		case known = <-measured:
			s := *h.scene() // this loop has shown one by now
			s.vitals = ready(&s, known)
			h.show(&s)
		case <-h.went:
			if !h.watched() {
				return nil
			}
		}
	}
}

// scene is the present one.
func (h *hub) scene() *scene {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

// show makes a scene the present one. Whom it brings nothing new, and no line either, is sent nothing.
func (h *hub) show(s *scene) {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.wake()
	h.trouble = ""
	if h.now != nil {
		d := between(h.now, s)
		if d.empty() {
			return
		}
		h.step = d.encoded()
	}
	h.before, h.now = h.now, s
}

// fail tells the viewers that what they see is old.
func (h *hub) fail(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.trouble = shorten(err.Error())
	h.wake()
}

// wake wakes all viewers; the lock is held.
func (h *hub) wake() {
	for v := range h.viewers {
		v.changed.set()
	}
}

// forget drops what was seen, when nobody looks any more.
func (h *hub) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.viewers) == 0 {
		h.now, h.before, h.step, h.lines, h.trouble = nil, nil, nil, nil, ""
	}
}

// message is an event of the stream.
type message struct {
	kind string
	data []byte
}

// next is what a viewer has not seen yet.
func (h *hub) next(v *viewer) []message {
	h.mu.Lock()
	now, step, trouble := h.now, h.step, h.trouble
	same := v.shown != nil && v.shown == h.before
	lines := h.since(v.read)
	v.read = h.count
	h.mu.Unlock()
	var all []message
	if now != nil && now != v.shown {
		if !same {
			step = between(v.shown, now).encoded()
		}
		v.shown = now
		all = append(all, message{"scene", step})
	}
	if len(lines) > 0 {
		all = append(all, message{"lines", encodeLines(lines)})
	}
	if trouble != v.trouble {
		v.trouble = trouble
		all = append(all, message{"trouble", encode(struct {
			Error string `json:"error"`
		}{trouble})})
	}
	return all
}

// gone tells whether an error says that there is no such thing any more.
func gone(err error) bool {
	var said *client.Error
	return errors.As(err, &said) && said.Status == http.StatusNotFound
}
