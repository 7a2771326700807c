package containers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// ImageHealth returns the health check that the image of that digest brings, docker's HEALTHCHECK. One that brings none
// gives a check that checks nothing.
func (r *Runtime) ImageHealth(ctx context.Context, digest string) (cluster.Health, error) {
	health, err := r.imageHealth(ctx, digest)
	if err != nil {
		return cluster.Health{}, fmt.Errorf("health check of image %s: %w", digest, err)
	}
	return health, nil
}

func (r *Runtime) imageHealth(ctx context.Context, digest string) (cluster.Health, error) {
	ctx, cancel, err := r.begin(ctx, quickLimit)
	if err != nil {
		return cluster.Health{}, err
	}
	defer cancel()
	stored, err := r.client.ImageService().List(ctx, fmt.Sprintf("target.digest==%s", digest))
	if err != nil {
		return cluster.Health{}, r.explain(ctx, err)
	}
	if len(stored) == 0 {
		return cluster.Health{}, kindError{ErrImageUnknown, errors.New("it is not on this node: pull it first")}
	}
	// Whether all of the image is here is for whoever makes containers of it to find out.
	desc, err := client.NewImage(r.client, stored[0]).Config(ctx)
	if err != nil {
		return cluster.Health{}, r.explain(ctx, err)
	}
	raw, err := content.ReadBlob(ctx, r.client.ContentStore(), desc)
	if err != nil {
		return cluster.Health{}, r.explain(ctx, err)
	}
	return healthOf(raw)
}

// healthOf reads the health check in an image's configuration. It is docker's extension of the OCI format, and so is the
// shell that runs it.
func healthOf(raw []byte) (cluster.Health, error) {
	var body struct {
		Config struct {
			Shell       []string
			Healthcheck struct {
				Test                                          []string
				Interval, Timeout, StartPeriod, StartInterval time.Duration
				Retries                                       int
			}
		} `json:"config"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return cluster.Health{}, err
	}
	check := body.Config.Healthcheck
	health := cluster.Health{
		Interval: possible(check.Interval), Timeout: possible(check.Timeout), Retries: max(check.Retries, 0),
		StartPeriod: possible(check.StartPeriod), StartInterval: possible(check.StartInterval),
	}
	if len(check.Test) == 0 {
		return health, nil
	}
	switch kind, args := check.Test[0], check.Test[1:]; kind {
	case "NONE":
		health.Disabled = true
	case "CMD":
		health.Cmd = args
	case "CMD-SHELL":
		shell := body.Config.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		health.Cmd = append(shell, args...)
	default:
		return cluster.Health{}, fmt.Errorf("unknown kind of health check %q", kind)
	}
	return health, nil
}

// possible returns a duration that a program may have written, or zero, for docker's default, if docker would refuse it.
func possible(d time.Duration) time.Duration {
	if d < time.Millisecond {
		return 0
	}
	return d
}
