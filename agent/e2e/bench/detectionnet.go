package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// ring is a network of bare members: each a process in a network namespace of its own, on a bridge in another one.
// All namespaces end with their processes, and nothing of this touches the machine's own network.
type ring struct {
	holder *exec.Cmd // keeps the bridge's namespace
	loss   float64   // share of the packets that each member does not receive
	nodes  []*ringNode

	mu    sync.Mutex
	seen  map[view]sight // the last of each
	falls map[string]int // by variant, how often a member was seen down that lived
	dead  map[string]bool
}

// view is who looks at whom.
type view struct{ variant, by, of string }

type ringNode struct {
	id, address string
	port        string // its end of the cable at the bridge
	process     *exec.Cmd
	gone        chan struct{}
}

func newRing(ctx context.Context, size int, loss float64) (*ring, error) {
	r := &ring{
		loss: loss, seen: map[view]sight{}, falls: map[string]int{}, dead: map[string]bool{},
		holder: exec.Command("sleep", "infinity"),
	}
	r.holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := r.holder.Start(); err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	err := within(ctx, r.holder.Process.Pid, "ip link add bridge type bridge", "ip link set bridge up")
	for i := range size {
		r.nodes = append(r.nodes, &ringNode{id: fmt.Sprintf("m%d", i+1), address: fmt.Sprintf("10.99.0.%d", i+1)})
	}
	for i := range r.nodes {
		if err == nil {
			err = r.start(ctx, i)
		}
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	return r, nil
}

// start starts a member and gives it a cable.
func (r *ring) start(ctx context.Context, i int) error {
	n := r.nodes[i]
	args := []string{memberCommand, n.id, n.address}
	for _, other := range r.nodes {
		if other != n {
			args = append(args, other.address)
		}
	}
	process := exec.Command("/proc/self/exe", args...)
	process.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	var errs bytes.Buffer
	process.Stderr = &errs
	lines, err := process.StdoutPipe()
	if err != nil {
		return err
	}
	if err := process.Start(); err != nil {
		return fmt.Errorf("start a member: %w", err)
	}
	gone := make(chan struct{})
	n.process, n.gone = process, gone
	go func() {
		defer close(gone)
		for in := bufio.NewScanner(lines); in.Scan(); {
			if s, err := parseSight(n.id, in.Text()); err == nil {
				r.note(s)
			}
		}
		process.Wait() // it is killed; what it says then is no news
		if errs.Len() > 0 {
			progress("%s", strings.TrimSpace(errs.String()))
		}
	}()
	pid := process.Process.Pid
	n.port = fmt.Sprintf("port%d", pid) // the kernel may still be clearing away the one before
	if err := within(ctx, r.holder.Process.Pid,
		fmt.Sprintf("ip link add %s type veth peer name eth0 netns %d", n.port, pid),
		fmt.Sprintf("ip link set %s master bridge up", n.port)); err != nil {
		return err
	}
	commands := []string{"ip link set lo up", "ip addr add " + n.address + "/24 dev eth0", "ip link set eth0 up"}
	for _, port := range []int{oursPort, stockPort} { // rules that only count
		commands = append(commands, fmt.Sprintf("iptables -w -A INPUT -i eth0 -p udp --dport %d", port))
	}
	if r.loss > 0 {
		commands = append(commands, fmt.Sprintf("iptables -w -A INPUT -i eth0 -m statistic --mode random --probability %g -j DROP", r.loss))
	}
	return within(ctx, pid, commands...)
}

// cut pulls the cable of a member and kills it at the same moment: this is what a power cut looks like to the others.
func (r *ring) cut(ctx context.Context, i int) (time.Time, error) {
	n := r.nodes[i]
	r.mu.Lock()
	r.dead[n.id] = true
	r.mu.Unlock()
	at := time.Now()
	err := within(ctx, r.holder.Process.Pid, "ip link set "+n.port+" down")
	err = errors.Join(err, n.process.Process.Kill())
	<-n.gone
	return at, err
}

// revive starts a member that was cut.
func (r *ring) revive(ctx context.Context, i int) error {
	r.mu.Lock()
	delete(r.dead, r.nodes[i].id)
	for v := range r.seen {
		if v.by == r.nodes[i].id {
			delete(r.seen, v)
		}
	}
	r.mu.Unlock()
	return r.start(ctx, i)
}

// note takes in what a member sees.
func (r *ring) note(s sight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := view{s.variant, s.by, s.of}
	if s.condition != cluster.Ready && !r.dead[s.of] && !r.dead[s.by] && r.seen[v].condition == cluster.Ready {
		r.falls[s.variant]++
	}
	r.seen[v] = s
}

// await waits until all living members see a condition of a member, and returns when the last of them did.
func (r *ring) await(ctx context.Context, variant, of string, condition cluster.Condition, since time.Time) (time.Time, error) {
	var last time.Time
	err := poll(ctx, time.Minute, fmt.Sprintf("all of %s see %s %s", variant, of, condition), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		last = time.Time{}
		for _, n := range r.nodes {
			if n.id == of || r.dead[n.id] {
				continue
			}
			s := r.seen[view{variant, n.id, of}]
			if s.condition != condition || s.at.Before(since) {
				return false
			}
			if s.at.After(last) {
				last = s.at
			}
		}
		return true
	})
	return last, err
}

// whole waits until everyone sees everyone.
func (r *ring) whole(ctx context.Context) error {
	for _, variant := range []string{ours, stock} {
		for _, n := range r.nodes {
			if _, err := r.await(ctx, variant, n.id, cluster.Ready, time.Time{}); err != nil {
				return err
			}
		}
	}
	return nil
}

// packets is how many a member has received at a port.
func (r *ring) packets(ctx context.Context, i, port int) (float64, error) {
	out, err := command(ctx, r.nodes[i].process.Process.Pid, "iptables -w -nvxL INPUT")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); strings.Contains(line, fmt.Sprintf("dpt:%d", port)) {
			return strconv.ParseFloat(fields[0], 64)
		}
	}
	return 0, fmt.Errorf("no rule counts port %d", port)
}

func (r *ring) close() error {
	for _, n := range r.nodes {
		if n.process != nil {
			n.process.Process.Kill() // may have ended
			<-n.gone
		}
	}
	err := r.holder.Process.Kill()
	r.holder.Wait()
	return err
}

// within runs commands in the network namespace of a process.
func within(ctx context.Context, pid int, commands ...string) error {
	for _, c := range commands {
		if _, err := command(ctx, pid, c); err != nil {
			return err
		}
	}
	return nil
}

func command(ctx context.Context, pid int, line string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	args := append([]string{"-t", strconv.Itoa(pid), "-n"}, strings.Fields(line)...)
	out, err := exec.CommandContext(ctx, "nsenter", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", line, err, bytes.TrimSpace(out))
	}
	return string(out), nil
}
