package client

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
)

// InProcess returns a client of the agent whose API is the handler, in the same process: what an adapter of another API
// needs to be a client like every other. There is no socket between the two, but HTTP all the same, so streams flow, and a
// caller who goes away ends what it asked for. It keeps nothing running while nobody calls.
func InProcess(handler http.Handler) *Client {
	protocols := &http.Protocols{}
	protocols.SetHTTP1(true)
	server := &http.Server{
		Handler: handler, Protocols: protocols,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug), // the caller gets to know that it was cut off
	}
	return Over("this node", func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		// Serve hands the connection to a goroutine of its own, which ends with it, finds no second one, and returns.
		_ = server.Serve(&single{conn: far})
		return near, nil
	})
}

// single is a listener on which one connection comes in.
type single struct{ conn net.Conn }

func (s *single) Accept() (net.Conn, error) {
	if s.conn == nil {
		return nil, io.EOF
	}
	conn := s.conn
	s.conn = nil
	return conn, nil
}

func (s *single) Close() error   { return nil } // the connection lives on
func (s *single) Addr() net.Addr { return &net.UnixAddr{Name: "in-process", Net: "unix"} }
