package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/piswarm/piswarm/pkg/lab"
)

// bareShares is how many of the eleven containers each node starts.
var bareShares = []int{4, 4, 3}

// bareNode is the bare client on one node.
type bareNode struct {
	share  int
	orders io.WriteCloser
	lines  chan string
	done   chan error
}

// bareNodes are those of all nodes.
type bareNodes struct {
	all  []*bareNode
	once sync.Once
	err  error
}

// startBare starts the bare client on every node and waits until each has its image.
func (s *shelf) startBare(ctx context.Context) (*bareNodes, error) {
	b := &bareNodes{}
	for i, name := range s.names() {
		n, err := s.startBareOn(ctx, name, bareShares[i])
		if err != nil {
			return nil, errors.Join(err, b.stop())
		}
		b.all = append(b.all, n)
	}
	return b, b.await(ctx, bareReady)
}

func (s *shelf) startBareOn(ctx context.Context, name string, share int) (*bareNode, error) {
	root, err := s.lab.Root(name)
	if err != nil {
		return nil, err
	}
	const program = "/root/bench"
	// The nodes see neither this program's file nor the image's.
	if err := errors.Join(copyTo(root+program, "/proc/self/exe", 0o755), copyTo(root+bareImage, s.image, 0o644)); err != nil {
		return nil, err
	}
	ordersIn, orders := io.Pipe()
	answers, answersOut := io.Pipe()
	n := &bareNode{share: share, orders: orders, lines: make(chan string, 1), done: make(chan error, 1)}
	go func() {
		code, err := s.lab.Exec(ctx, name, []string{program, bareCommand}, lab.Stdio{In: ordersIn, Out: answersOut, Err: os.Stderr})
		if err == nil && code != 0 {
			err = fmt.Errorf("the bare client on %s ended with exit code %d", name, code)
		}
		answersOut.Close()
		ordersIn.Close()
		n.done <- err
	}()
	go func() {
		defer close(n.lines)
		for in := bufio.NewScanner(answers); in.Scan(); {
			n.lines <- in.Text()
		}
	}()
	return n, nil
}

// startAll starts all containers and returns when the last one runs and how long that took; then it takes them away.
func (b *bareNodes) startAll(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	for _, n := range b.all {
		if _, err := fmt.Fprintln(n.orders, n.share); err != nil {
			return 0, err
		}
	}
	if err := b.await(ctx, bareRunning); err != nil {
		return 0, err
	}
	took := time.Since(began)
	if err := b.await(ctx, bareGone); err != nil {
		return 0, err
	}
	return took, rest(ctx, time.Second)
}

// await waits until all nodes have said a word.
func (b *bareNodes) await(ctx context.Context, word string) error {
	var group errgroup.Group
	for _, n := range b.all {
		group.Go(func() error {
			select {
			case line, ok := <-n.lines:
				if !ok || line != word {
					return fmt.Errorf("bare client: %q instead of %q", line, word)
				}
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	}
	return group.Wait()
}

// stop ends the clients.
func (b *bareNodes) stop() error {
	b.once.Do(func() {
		for _, n := range b.all {
			n.orders.Close()
			b.err = errors.Join(b.err, <-n.done)
		}
	})
	return b.err
}

func copyTo(to, from string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
