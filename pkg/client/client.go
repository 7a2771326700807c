package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// DefaultHost is where an agent listens unless told otherwise.
const DefaultHost = "unix:///run/piswarm/piswarm.sock"

// The longest that a call waits. The caller's context may end it earlier.
const (
	dialTimeout  = 5 * time.Second
	readTimeout  = 30 * time.Second
	writeTimeout = 2 * time.Minute // a write is saved and handed to other nodes first
	// A service is created when a registry has named the bytes of its image, and a Pi's Wi-Fi may be slow.
	createTimeout = 5 * time.Minute
)

// maxAnswer bounds an answer that is read as a whole. Ten thousand tasks take about 5 MB.
const maxAnswer = 16 << 20

// Client calls one agent. It is safe for use by several goroutines.
type Client struct {
	socket string
	dial   func(context.Context) (net.Conn, error)
	http   *http.Client
}

// New returns a client of the agent at host, for example unix:///run/piswarm/piswarm.sock; an empty host is
// [DefaultHost]. It opens no connection yet.
func New(host string) (*Client, error) {
	if host == "" {
		host = DefaultHost
	}
	scheme, rest, ok := strings.Cut(host, "://")
	if !ok {
		return nil, fmt.Errorf("host %q: want unix:///PATH, for example %s", host, DefaultHost)
	}
	switch scheme {
	case "unix":
		return newUnix(host, rest)
	default:
		return nil, fmt.Errorf("host %q: unknown scheme %q: want unix:///PATH, for example %s", host, scheme, DefaultHost)
	}
}

func newUnix(host, path string) (*Client, error) {
	if !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("host %q: the socket's path must be absolute: unix:///PATH", host)
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	return Over(path, func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, "unix", path) }), nil
}

// Over returns a client of the agent that dial leads to, by whatever way; errors call the agent's place name.
func Over(name string, dial func(context.Context) (net.Conn, error)) *Client {
	return &Client{
		socket: name,
		dial:   dial,
		http: &http.Client{
			Transport: &http.Transport{
				DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
				DisableCompression: true, // both ends are on one machine, or ssh is between them
				MaxIdleConns:       4,
				IdleConnTimeout:    30 * time.Second,
			},
			// The API redirects nowhere. A redirect can only be the server's guess at a mistaken path, and
			// following it would run another request than the one asked for.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// Dial opens a connection to the agent for who speaks HTTP itself.
func (c *Client) Dial(ctx context.Context) (net.Conn, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, &ConnectError{Socket: c.socket, Err: err}
	}
	return conn, nil
}

// Close drops idle connections. The client may be used again.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call sends in as JSON (nothing if nil) and reads the answer into out.
func (c *Client) call(ctx context.Context, timeout time.Duration, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
		body = bytes.NewReader(data)
	}
	resp, err := c.send(ctx, method, path, "application/json", body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the agent's answer to %s %s: %w", method, path, err)
	}
	if len(data) > maxAnswer {
		return fmt.Errorf("the agent's answer to %s %s is longer than %d MB", method, path, maxAnswer>>20)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("the agent's answer to %s %s is not what this version of piswarm understands: %w", method, path, err)
	}
	return nil
}

// send returns the answer of a request that the agent accepted. The caller closes its body.
func (c *Client) send(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://piswarm"+path, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.connectError(ctx, method, path, err)
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close()
		return nil, readProblem(resp)
	}
	return resp, nil
}

// pathOf joins a collection and the name of one of its members. Names that a URL's path cannot carry are those of
// nothing, and are refused here, before they could mean the collection itself.
func pathOf(collection, name string) (string, error) {
	if name == "" || name == "." || name == ".." {
		return "", &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is nothing named %q", name)}
	}
	return collection + "/" + url.PathEscape(name), nil
}
