package main

import (
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// calm is the share of the processors that a program must get for its times to mean something. An idle lab
	// takes a few hundredths.
	calm      = 0.85
	spinsFor  = 400 * time.Millisecond
	settleFor = time.Second
)

// freeShare tells what part of the machine's processors a program that wants all of them gets: the processor time
// of a thread on each, by the time that went by. Unlike a load average it speaks of now.
func freeShare() float64 {
	time.Sleep(settleFor) // what the section before set in motion is over
	var (
		mu         sync.Mutex
		wg         sync.WaitGroup
		used, wall time.Duration
	)
	for range runtime.NumCPU() {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			began, usedBefore := time.Now(), threadTime()
			for time.Since(began) < spinsFor {
			}
			mu.Lock()
			defer mu.Unlock()
			used += threadTime() - usedBefore
			wall += time.Since(began)
		})
	}
	wg.Wait()
	return float64(used) / float64(wall)
}

func threadTime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}
