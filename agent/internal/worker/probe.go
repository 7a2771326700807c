package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/pkg/cluster"
)

const (
	// maxAsks is how many commands are begun at a time: to begin one is work for the processor. What takes longer than
	// askLimit waits for something else, and keeps no other from beginning.
	maxAsks  = 2
	askLimit = 2 * time.Second
	// maxBody is how much of an answer is read, maxReason how much of it is told.
	maxBody   = 4096
	maxReason = 200
)

// question is all that is needed to see whether a container serves.
type question struct {
	cluster.Health
	id      string
	address netip.AddrPort // for HTTP and TCP
}

// ask returns why the container does not serve, or nothing if it does. An error says that it could not be asked.
func (w *Worker) ask(ctx context.Context, q question) (failure string, err error) {
	switch {
	case len(q.Cmd) > 0:
		return w.askCommand(ctx, q)
	case q.HTTP != "":
		err = w.askHTTP(ctx, q)
	default:
		err = w.askTCP(ctx, q)
	}
	if err != nil {
		return shorten(err.Error()), nil
	}
	return "", nil
}

func (w *Worker) askCommand(ctx context.Context, q question) (string, error) {
	select {
	case <-ctx.Done():
		return "", ctx.Err()
	case w.asks <- struct{}{}:
	}
	release := sync.OnceFunc(func() { <-w.asks })
	defer release()
	defer time.AfterFunc(askLimit, release).Stop()
	ended, err := w.cfg.Runtime.Exec(ctx, q.id, q.Cmd, q.Timeout)
	output := shorten(ended.Output)
	switch {
	case errors.Is(err, containers.ErrUnavailable) || ctx.Err() != nil:
		return "", err
	case errors.Is(err, containers.ErrTimeout):
		return reason(fmt.Sprintf("the command did not end within %s", q.Timeout), output), nil
	case err != nil:
		return shorten(err.Error()), nil
	case ended.Code != 0:
		return reason(fmt.Sprintf("the command %s", exitText(ended.Code)), output), nil
	}
	return "", nil
}

// reason is what went wrong, and what was said about it.
func reason(what, said string) string {
	if said == "" {
		return what
	}
	return what + ": " + said
}

// askHTTP makes a request as any client would, on a connection of its own.
func (w *Worker) askHTTP(ctx context.Context, q question) error {
	ctx, cancel := context.WithTimeoutCause(ctx, q.Timeout, errSilent(q.Timeout))
	defer cancel()
	what := fmt.Sprintf("GET %s at port %d", q.HTTP, q.address.Port())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+q.address.String()+q.HTTP, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	request.Header.Set("User-Agent", "piswarm")
	client := http.Client{
		Transport: &http.Transport{DialContext: w.dial, DisableKeepAlives: true, DisableCompression: true},
		// That it leads elsewhere is an answer: elsewhere may be another service.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("%s: %w", what, plain(ctx, err))
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	if err != nil {
		return fmt.Errorf("%s: %w", what, plain(ctx, err))
	}
	if answer.StatusCode < 200 || answer.StatusCode > 399 {
		return errors.New(reason(fmt.Sprintf("%s: answer %s", what, answer.Status), shorten(string(body))))
	}
	return nil
}

// askTCP opens a connection.
func (w *Worker) askTCP(ctx context.Context, q question) error {
	ctx, cancel := context.WithTimeoutCause(ctx, q.Timeout, errSilent(q.Timeout))
	defer cancel()
	conn, err := w.dial(ctx, "tcp", q.address.String())
	if err != nil {
		return fmt.Errorf("port %d: %w", q.address.Port(), plain(ctx, err))
	}
	return conn.Close()
}

func errSilent(limit time.Duration) error { return fmt.Errorf("no answer within %s", limit) }

// plain returns what happened, without the address, which the task has anyway.
func plain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	var connection *net.OpError
	if errors.As(err, &connection) {
		err = connection.Err
	}
	return err
}

// shorten makes one short line of what a program said.
func shorten(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "")
	}
	return text
}
