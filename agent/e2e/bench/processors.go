package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/piswarm/piswarm/pkg/lab"
)

// A laptop has a processor of its own, and a Pi's network costs nobody else's. Here the machines of a lab share what there
// is, and whoever asks faster takes the time of those who answer. So that a rate is what the Pis can do, the laptop's
// programs and its packets are kept on one processor and those of the Pis on another.
const (
	laptopProcessor = 0
	piProcessor     = 1
)

// apart gives laptop and Pis their processors, and returns what gives them all of them again.
func (s *shelf) apart(ctx context.Context) (together func(context.Context) error, err error) {
	if runtime.NumCPU() < 2 {
		return nil, errors.New("the laptop and the Pis need a processor each, and this machine has one")
	}
	all := uint64(1)<<min(runtime.NumCPU(), 63) - 1
	together = func(ctx context.Context) error {
		errs := []error{s.keep(ctx, lab.LaptopName, all, 0)}
		for _, node := range s.names() {
			errs = append(errs, s.keep(ctx, node, all, 0))
		}
		return errors.Join(errs...)
	}
	err = s.keep(ctx, lab.LaptopName, 1<<laptopProcessor, 1<<laptopProcessor)
	for _, node := range s.names() {
		err = errors.Join(err, s.keep(ctx, node, 1<<piProcessor, 1<<piProcessor))
	}
	if err != nil {
		return nil, errors.Join(err, together(ctx))
	}
	return together, nil
}

// keep binds all that runs on a host, and all that comes of it, to some processors, and has what arrives there worked on by
// some (0: by the one that sent it). Both are bit masks.
func (s *shelf) keep(ctx context.Context, host string, programs, packets uint64) error {
	// A host's own /sys is read-only.
	_, err := s.on(ctx, host, "unshare", "--mount", "sh", "-euc", fmt.Sprintf(
		"for p in /proc/[0-9]*; do taskset --all-tasks --pid %x ${p#/proc/} || [ ! -e $p ]; done >/dev/null\n"+
			"mount -t sysfs sysfs /mnt\necho %x >/mnt/class/net/eth0/queues/rx-0/rps_cpus", programs, packets))
	return err
}
