package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// idleFor is how long nothing happens.
const idleFor = 60 * time.Second

// measureIdle watches the agents while two services run and nobody wants anything. Of each figure the worst node counts.
func measureIdle(ctx context.Context, s *shelf) ([]figure, error) {
	if err := s.create(ctx, "pi1", "greeters", published, 4); err != nil {
		return nil, err
	}
	if err := s.create(ctx, "pi2", "others", published+1, 3); err != nil {
		return nil, err
	}
	if err := rest(ctx, 10*time.Second); err != nil { // the last save is over, and the last report has gone round
		return nil, err
	}
	before := map[string]use{}
	for _, node := range s.names() {
		u, err := s.agentUse(node)
		if err != nil {
			return nil, err
		}
		before[node] = u
	}
	progress("nothing happens for %s", idleFor)
	if err := rest(ctx, idleFor); err != nil {
		return nil, err
	}
	written := figure{Name: "idle: bytes written by an agent", Unit: "B", Target: new(0.0), steady: true}
	started := figure{Name: "idle: page faults of processes that it started", Unit: "faults", Target: new(0.0), steady: true}
	cpu := figure{Name: "idle: processor time of an agent", Unit: "% of a core", Target: new(1.0)}
	pss := figure{Name: "idle: memory of an agent, shared pages by share (PSS)", Unit: "MB", Target: new(25.0), steady: true}
	rss := figure{Name: "idle: memory of an agent, shared pages as its own (RSS)", Unit: "MB", Target: new(25.0), steady: true,
		Note: "PSS on a Pi, where no other agent shares the program's file"}
	for _, node := range s.names() {
		a := before[node]
		b, err := s.agentUse(node)
		if err != nil {
			return nil, err
		}
		if a.pid != b.pid {
			return nil, fmt.Errorf("the agent of %s was restarted", node)
		}
		changed := 0.0
		for path, state := range b.files {
			if a.files[path] != state {
				changed++
				written.Note = join(written.Note, node+" changed "+path)
			}
		}
		written.add(b.written - a.written + changed)
		started.add(b.faults - a.faults)
		cpu.add(100 * (b.cpu - a.cpu) / idleFor.Seconds())
		pss.add(b.pss)
		rss.add(b.rss)
	}
	return []figure{written, started, cpu, pss, rss}, nil
}

// add takes in a sample of which the greatest counts.
func (f *figure) add(sample float64) {
	f.Samples = append(f.Samples, sample)
	f.Value = max(f.Value, sample)
}

// use is what an agent has used so far.
type use struct {
	pid      string
	cpu      float64 // seconds
	faults   float64 // minor page faults of children that ended; no program starts without some
	written  float64 // bytes, to disks
	pss, rss float64 // MB
	files    map[string]string
}

// agentUse reads it from the node's own /proc.
func (s *shelf) agentUse(node string) (use, error) {
	root, err := s.lab.Root(node)
	if err != nil {
		return use{}, err
	}
	dir, err := agentProcess(root)
	if err != nil {
		return use{}, fmt.Errorf("%s: %w", node, err)
	}
	u := use{pid: filepath.Base(dir), files: map[string]string{}}
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return use{}, err
	}
	// What follows the name of the program, which is in parentheses, starts with the third field.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	number := func(text string) float64 {
		n, parseErr := strconv.ParseFloat(text, 64)
		if parseErr != nil {
			err = fmt.Errorf("%s of %s: %w", dir, node, parseErr)
		}
		return n
	}
	const ticksPerSecond = 100
	u.faults = number(fields[8])
	u.cpu = (number(fields[11]) + number(fields[12])) / ticksPerSecond
	u.written = number(valueIn(dir+"/io", "write_bytes:"))
	u.pss = number(valueIn(dir+"/smaps_rollup", "Pss:")) / 1024
	u.rss = number(valueIn(dir+"/smaps_rollup", "Rss:")) / 1024
	if err != nil {
		return use{}, err
	}
	err = filepath.WalkDir(root+"/var/lib/piswarm", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil {
			u.files[strings.TrimPrefix(path, root)] = fmt.Sprint(info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	return u, err
}

// agentProcess finds the directory of the agent's process.
func agentProcess(root string) (string, error) {
	all, err := filepath.Glob(root + "/proc/[0-9]*")
	if err != nil {
		return "", err
	}
	for _, dir := range all {
		line, err := os.ReadFile(dir + "/cmdline")
		if err != nil {
			continue // it has ended
		}
		if args := strings.Split(string(line), "\x00"); len(args) > 1 && filepath.Base(args[0]) == "piswarm" && args[1] == "agent" {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no agent runs")
}

// valueIn returns the number after a name in a file of lines.
func valueIn(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			return f[1]
		}
	}
	return "no " + name
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
