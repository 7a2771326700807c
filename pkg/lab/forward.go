package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// forwardWait bounds the search for a Pi that accepts.
	forwardWait = 2 * time.Second
	// maxForwarded bounds the connections that are open at once on one port.
	maxForwarded = 512
)

// forward carries connections to 127.0.0.1 of this machine on to the Pis.
type forward struct {
	lab      *Lab
	port     int
	listener net.Listener
	slots    chan struct{}
	ctx      context.Context
	stop     context.CancelFunc
	running  sync.WaitGroup
}

// listenForwards takes all ports, or none.
func listenForwards(ports []int, l *Lab) ([]*forward, error) {
	var all []*forward
	for _, port := range ports {
		listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("forward %d: another program has this port of 127.0.0.1: end it or forward another port", port)
		}
		if err != nil {
			for _, f := range all {
				f.close()
			}
			return nil, err
		}
		f := &forward{lab: l, port: port, listener: listener, slots: make(chan struct{}, maxForwarded)}
		f.ctx, f.stop = context.WithCancel(context.Background())
		all = append(all, f)
	}
	return all, nil
}

func (f *forward) start() {
	f.running.Go(func() {
		for {
			conn, err := f.listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				// Out of file descriptors, most likely: others will be closed.
				time.Sleep(pollEvery)
				continue
			}
			f.slots <- struct{}{}
			f.running.Go(func() {
				defer func() { <-f.slots }()
				f.carry(conn)
			})
		}
	})
}

// close ends all connections and waits for them.
func (f *forward) close() {
	f.listener.Close()
	f.stop()
	f.running.Wait()
}

func (f *forward) carry(client net.Conn) {
	defer client.Close()
	pi, err := f.dial()
	if err != nil {
		f.lab.opt.Log(fmt.Sprintf("forward %d: %v", f.port, err))
		return
	}
	defer pi.Close()
	defer context.AfterFunc(f.ctx, func() {
		client.Close()
		pi.Close()
	})()
	var both sync.WaitGroup
	both.Go(func() { pipe(pi, client) })
	both.Go(func() { pipe(client, pi) })
	both.Wait()
}

// dial connects from the laptop to the first Pi that accepts.
func (f *forward) dial() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(f.ctx, forwardWait)
	defer cancel()
	var errs []error
	for _, h := range f.lab.hosts {
		if !h.pi || h.machine() == nil || h.isCut() {
			continue
		}
		conn, err := f.lab.Dial(ctx, LaptopName, "tcp", net.JoinHostPort(h.address().String(), strconv.Itoa(f.port)))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("no Pi accepts: %w", errors.Join(errs...))
}

// pipe copies one direction and passes its end on. An error is the end of the connection like any other.
func pipe(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if tcp, ok := to.(*net.TCPConn); ok && err == nil {
		_ = tcp.CloseWrite()
		return
	}
	to.Close()
	from.Close()
}
