package containerstest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// Fake is a runtime in memory. What its containers do follows from their arguments (see [Subject]) and from what
// the test scripts. Its zero value holds no image.
type Fake struct {
	mu      sync.Mutex
	here    map[string]bool // images, by digest
	offered map[string]bool // those that Pull can bring
	all     map[string]*fakeContainer
	readers map[chan containers.Event]bool
	calls   []string
	lastPID int

	createErrors, startErrors, pullErrors map[string]error
	crashes                               map[string]crash
	pullTime                              time.Duration
	answers                               map[string]func(context.Context) (containers.Ended, error)
	health                                map[string]cluster.Health // of images, by digest
	execs                                 int

	lost   map[string]bool // containers that run on although containerd has forgotten them
	pulled []string        // images that were fetched for a service, the oldest first
	disk   containers.Disk
	bytes  int64 // of each image
}

type fakeContainer struct {
	containers.Container
	args    []string
	files   []containers.File
	changed chan struct{} // closed when it ends
}

type crash struct {
	after time.Duration
	code  int
}

// AddImage puts an image where Has finds it.
func (f *Fake) AddImage(digest string) { f.script(func() { put(&f.here, digest, true) }) }

// OfferImage makes Pull find an image.
func (f *Fake) OfferImage(digest string) { f.script(func() { put(&f.offered, digest, true) }) }

// FailCreate makes Create fail for a service, until it is given nil.
func (f *Fake) FailCreate(service string, err error) {
	f.script(func() { put(&f.createErrors, service, err) })
}

// FailStart makes Start fail for a service, until it is given nil.
func (f *Fake) FailStart(service string, err error) {
	f.script(func() { put(&f.startErrors, service, err) })
}

// FailPull makes Pull fail for an image, until it is given nil.
func (f *Fake) FailPull(digest string, err error) {
	f.script(func() { put(&f.pullErrors, digest, err) })
}

// SlowPull makes each Pull that transfers something take that long.
func (f *Fake) SlowPull(took time.Duration) { f.script(func() { f.pullTime = took }) }

// CrashAfterStart makes each container of a service end by itself that long after its start.
func (f *Fake) CrashAfterStart(service string, after time.Duration, exitCode int) {
	f.script(func() { put(&f.crashes, service, crash{after, exitCode}) })
}

// StopCrashing lets the containers of a service that start from now on run.
func (f *Fake) StopCrashing(service string) { f.script(func() { delete(f.crashes, service) }) }

// AnswerExec says what becomes of every command that is run in a container of a service, in place of what follows from
// the command. It is called without a lock, and its context ends when the command is to be killed.
func (f *Fake) AnswerExec(service string, answer func(context.Context) (containers.Ended, error)) {
	f.script(func() { put(&f.answers, service, answer) })
}

// SetHealth says which health check an image brings.
func (f *Fake) SetHealth(digest string, health cluster.Health) {
	f.script(func() { put(&f.health, digest, health) })
}

// Execs is how many commands were run in containers.
func (f *Fake) Execs() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.execs
}

// Exit ends a running container, as if its program had ended.
func (f *Fake) Exit(id string, exitCode int) {
	f.script(func() { f.end(f.all[id], exitCode) })
}

// OOMKill ends a running container as the kernel does when its memory is used up.
func (f *Fake) OOMKill(id string) {
	f.script(func() {
		if c := f.all[id]; c != nil && c.State == containers.Running {
			c.OOMKilled = true
			f.tell(containers.Event{Type: containers.EventOOM, ID: id})
			f.end(c, 137)
		}
	})
}

// Resync tells all readers that they may have missed events, as after a restart of containerd.
func (f *Fake) Resync() {
	f.script(func() { f.tell(containers.Event{Type: containers.EventResync}) })
}

// LoseStore makes the runtime forget its containers, which run on, and its images, as if the disk that it keeps them on
// was emptied.
func (f *Fake) LoseStore() {
	f.script(func() {
		for id, c := range f.all {
			if c.State == containers.Running {
				put(&f.lost, id, true)
			}
		}
		f.all, f.here, f.pulled = nil, nil, nil
		f.tell(containers.Event{Type: containers.EventResync})
	})
}

// SetDisk says how full the disk is, and how much of it each image takes. Once that is more than zero, pulling needs
// room.
func (f *Fake) SetDisk(disk containers.Disk, image int64) {
	f.script(func() { f.disk, f.bytes = disk, image })
}

// Calls are those that were made to change something, in their order: "create t1", "start t1", "stop t1",
// "remove t1", "pull sha256:…", "prune".
func (f *Fake) Calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// String is one line a container, sorted: "t1 web.3 v7 running", "t2 web.1 v7 stopped 137".
func (f *Fake) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(f.all)) {
		c := f.all[id]
		fmt.Fprintf(&b, "%s %s.%d v%d %s", id, c.Service, c.Slot, c.SpecVersion, c.State)
		if c.State == containers.Stopped {
			fmt.Fprintf(&b, " %d", c.ExitCode)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (f *Fake) Create(ctx context.Context, spec containers.Spec) error {
	return f.call(ctx, "create "+spec.ID, func() error {
		if err := f.createErrors[spec.Service]; err != nil {
			return err
		}
		if c := f.all[spec.ID]; c != nil {
			if c.Task != spec.Task {
				return errors.New("there is another one by that ID: remove it first")
			}
			return nil
		}
		if !f.here[spec.Container.Digest] {
			return fmt.Errorf("%w: %s", containers.ErrImageUnknown, spec.Container.Digest)
		}
		put(&f.all, spec.ID, &fakeContainer{
			Container: containers.Container{ID: spec.ID, Task: spec.Task, Digest: spec.Container.Digest, State: containers.Created},
			args:      spec.Container.Args,
			files:     spec.Files,
			changed:   make(chan struct{}),
		})
		return nil
	})
}

func (f *Fake) Start(ctx context.Context, id string) error {
	return f.call(ctx, "start "+id, func() error {
		c := f.all[id]
		switch {
		case c == nil:
			return errors.New("there is none")
		case c.State == containers.Running:
			return nil
		case c.State == containers.Stopped:
			return errors.New("it has ended: remove it and create it again")
		}
		if err := f.startErrors[c.Service]; err != nil {
			return err
		}
		if f.lost[id] {
			return errors.New("there is one by that ID already")
		}
		f.lastPID++
		c.State, c.PID, c.StartedAt = containers.Running, f.lastPID, time.Now()
		f.tell(containers.Event{Type: containers.EventStarted, ID: id})
		if crash, ok := f.crashes[c.Service]; ok {
			time.AfterFunc(crash.after, func() { f.script(func() { f.end(c, crash.code) }) })
		}
		if len(c.args) == 2 && c.args[0] == "exit" {
			code, err := strconv.Atoi(c.args[1])
			if err != nil {
				return err
			}
			f.end(c, code)
		}
		return nil
	})
}

func (f *Fake) Stop(ctx context.Context, id, signal string, grace time.Duration) error {
	var wait <-chan struct{}
	err := f.call(ctx, "stop "+id, func() error {
		c := f.all[id]
		if c == nil || c.State != containers.Running {
			return nil
		}
		if signal == "SIGKILL" {
			f.end(c, 137)
		} else if slices.Contains(c.args, "stubborn") {
			wait = c.changed
		} else {
			f.end(c, 0)
		}
		return nil
	})
	if err != nil || wait == nil {
		return err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-wait:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		f.script(func() { f.end(f.all[id], 137) })
	}
	return nil
}

func (f *Fake) Remove(ctx context.Context, id string) error {
	return f.call(ctx, "remove "+id, func() error {
		if c := f.all[id]; c != nil {
			f.end(c, 137)
			delete(f.all, id)
			f.tell(containers.Event{Type: containers.EventRemoved, ID: id})
		}
		return nil
	})
}

func (f *Fake) List(ctx context.Context) ([]containers.Container, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []containers.Container
	for _, id := range slices.Sorted(maps.Keys(f.all)) {
		list = append(list, f.all[id].Container)
	}
	return list, ctx.Err()
}

// Events never drops one: a test that reads too slowly for the buffer would wait for ever, so it panics instead.
func (f *Fake) Events(ctx context.Context) <-chan containers.Event {
	events := make(chan containers.Event, 1024)
	f.script(func() {
		put(&f.readers, events, true)
		events <- containers.Event{Type: containers.EventResync}
	})
	context.AfterFunc(ctx, func() {
		f.script(func() {
			delete(f.readers, events)
			close(events)
		})
	})
	return events
}

func (f *Fake) Pull(ctx context.Context, req containers.PullRequest) error {
	var took time.Duration
	err := f.call(ctx, "pull "+req.Digest, func() error {
		if !f.here[req.Digest] {
			took = f.pullTime
		}
		return nil
	})
	if err != nil {
		return err
	}
	if took > 0 {
		timer := time.NewTimer(took)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.pullErrors[req.Digest] != nil:
		return f.pullErrors[req.Digest]
	case !f.here[req.Digest] && !f.offered[req.Digest]:
		return fmt.Errorf("%w: %s", containers.ErrImageUnknown, req.Ref)
	}
	if !f.here[req.Digest] {
		if f.bytes > f.disk.Free {
			return fmt.Errorf("%w: %s", containers.ErrNoSpace, req.Ref)
		}
		f.disk.Free -= f.bytes
		put(&f.here, req.Digest, true)
		if req.ForService {
			f.pulled = append(f.pulled, req.Digest)
		}
	}
	if req.Progress != nil {
		req.Progress(1, 1)
	}
	return nil
}

// Sweep ends what LoseStore left.
func (f *Fake) Sweep(ctx context.Context) error {
	f.script(func() { f.lost = nil })
	return ctx.Err()
}

// Disk is what SetDisk said, with what has become of it since.
func (f *Fake) Disk(ctx context.Context) (containers.Disk, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.disk, ctx.Err()
}

// PruneImages removes images that Pull brought for a service.
func (f *Fake) PruneImages(ctx context.Context, keep map[string]bool, free int64) (removed []string, err error) {
	err = f.call(ctx, "prune", func() error {
		for _, digest := range slices.Clone(f.pulled) {
			used := keep[digest]
			for _, c := range f.all {
				used = used || c.Digest == digest
			}
			if used || f.disk.Free >= free {
				continue
			}
			delete(f.here, digest)
			f.pulled = slices.DeleteFunc(f.pulled, func(d string) bool { return d == digest })
			f.disk.Free += f.bytes
			removed = append(removed, digest)
		}
		return nil
	})
	return removed, err
}

func (f *Fake) Exec(ctx context.Context, id string, argv []string, limit time.Duration) (containers.Ended, error) {
	f.mu.Lock()
	f.execs++
	c := f.all[id]
	if c == nil || c.State != containers.Running {
		f.mu.Unlock()
		return containers.Ended{}, fmt.Errorf("exec in %s: it does not run", id)
	}
	answer, changed, files := f.answers[c.Service], c.changed, c.files
	f.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, containers.ErrTimeout)
	defer cancel()
	switch {
	case answer != nil:
		return answer(ctx)
	case len(argv) == 2 && argv[1] == "stubborn":
		select {
		case <-ctx.Done():
			return containers.Ended{}, context.Cause(ctx)
		case <-changed:
			return containers.Ended{Code: 137}, nil
		}
	case len(argv) == 3 && argv[1] == "exit":
		code, err := strconv.Atoi(argv[2])
		return containers.Ended{Code: code}, err
	case len(argv) == 3 && argv[1] == "read":
		i := slices.IndexFunc(files, func(f containers.File) bool { return f.Target == argv[2] })
		if i < 0 {
			return containers.Ended{Code: 1, Output: "no such file"}, ctx.Err()
		}
		file := files[i]
		return containers.Ended{Output: fmt.Sprintf("%d:%d %04o %s", file.UID, file.GID, file.Mode, file.Data)}, ctx.Err()
	case len(argv) == 4 && argv[1] == "print":
		return containers.Ended{Output: argv[2] + "\n" + argv[3] + "\n"}, ctx.Err()
	}
	return containers.Ended{Code: 127, Output: "no such program"}, nil
}

func (f *Fake) ImageHealth(_ context.Context, digest string) (cluster.Health, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.here[digest] {
		return cluster.Health{}, fmt.Errorf("%w: %s", containers.ErrImageUnknown, digest)
	}
	return f.health[digest], nil
}

func (f *Fake) Has(_ context.Context, digest string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.here[digest]
}

// Images lists the digests that are here, as images without a name.
func (f *Fake) Images(context.Context) ([]cluster.Image, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []cluster.Image
	for _, digest := range slices.Sorted(maps.Keys(f.here)) {
		list = append(list, cluster.Image{Digest: digest})
	}
	return list, nil
}

func (f *Fake) script(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *Fake) call(ctx context.Context, name string, do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, name)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// end is called with the lock held.
func (f *Fake) end(c *fakeContainer, exitCode int) {
	if c == nil || c.State != containers.Running {
		return
	}
	c.State, c.PID, c.ExitCode, c.ExitedAt = containers.Stopped, 0, exitCode, time.Now()
	close(c.changed)
	f.tell(containers.Event{Type: containers.EventExited, ID: c.ID, ExitCode: exitCode})
}

// tell is called with the lock held.
func (f *Fake) tell(e containers.Event) {
	for events := range f.readers {
		select {
		case events <- e:
		default:
			panic("containerstest: the reader of events does not read them")
		}
	}
}

// put writes to a map that may not be made yet.
func put[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = value
}
