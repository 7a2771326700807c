package worker

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/agent/internal/view"
)

const (
	// lookEvery is how often the disk is looked at, in a pass that there is anyway: one question to the kernel.
	lookEvery = 5 * time.Minute
	// A disk is short of space below this share of it, since ext4 gets slow and wears an SD card on few blocks, but not
	// as long as there is room for the largest image that one meets on a Pi.
	shortPercent, shortBytes = 15, 1 << 30
	// enoughPercent is where tidying up ends: far enough from short that the next image does not begin it anew.
	enoughPercent = 25
)

// disk is what the loop knows of the disk that the images are on.
type disk struct {
	looked time.Time
	full   bool // something did not fit
	busy   bool // it is being looked at, or tidied up
}

// short tells whether a disk has little space left.
func short(d containers.Disk) bool { return d.Free < min(d.Total/100*shortPercent, shortBytes) }

// enough is how much space there shall be after tidying up.
func enough(d containers.Disk) int64 { return d.Total / 100 * enoughPercent }

// tidy removes, from time to time and whenever something did not fit, the images that no service uses, if the disk is
// short. The lock is held.
func (w *Worker) tidy(ctx context.Context, v view.View, steps *errgroup.Group) {
	now := time.Now()
	if w.disk.busy || !w.disk.full && now.Sub(w.disk.looked) < lookEvery {
		return
	}
	full := w.disk.full
	w.disk = disk{looked: now, busy: true}
	used := make(map[string]bool, len(v.Services))
	for _, s := range v.Services {
		used[s.Spec.Container.Digest] = true
		if back, err := s.RolledBack(false, s.UpdatedAt); err == nil { // else going back takes a registry that still has it
			used[back.Spec.Container.Digest] = true
		}
	}
	for _, t := range w.tasks {
		used[t.spec.Container.Digest] = true
	}
	steps.Go(func() error {
		removed, err := w.makeRoom(ctx, used, full)
		w.mu.Lock()
		w.disk.busy = false
		w.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			w.cfg.Log.Warn("images that no service uses could not be removed", "error", err)
		}
		if len(removed) > 0 {
			w.cfg.Log.Info("the disk was short: removed images that no service uses", "images", removed)
			w.ImagesChanged()
		}
		return nil
	})
}

func (w *Worker) makeRoom(ctx context.Context, used map[string]bool, full bool) ([]string, error) {
	d, err := w.cfg.Runtime.Disk(ctx)
	if err != nil || !full && !short(d) {
		return nil, err
	}
	return w.cfg.Runtime.PruneImages(ctx, used, enough(d))
}
