package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
)

// The responder is this program in a container: the least of a web server. What a connection costs on its way is hidden
// behind the work of one that does more, for all of them share the machine's processors.
const responderCommand = "responder"

const responderPort = 5000

func serveResponder() error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp4", fmt.Sprintf(":%d", responderPort))
	if err != nil {
		return err
	}
	for {
		c, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			respond(c, host)
		}()
	}
}

// respond greets like the greeter, as often as a request ends, and leaves it to the client how long.
func respond(c net.Conn, host string) {
	body := "Hello, Docker world from " + host + ".\n"
	answer := func(connection string) []byte {
		return fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%s", len(body), connection, body)
	}
	stay, leave := answer("keep-alive"), answer("close")
	request := make([]byte, 0, 4<<10)
	for {
		n, err := c.Read(request[len(request):cap(request)])
		request = request[:len(request)+n]
		switch {
		case bytes.HasSuffix(request, []byte("\r\n\r\n")):
			last := bytes.Contains(request, []byte(" HTTP/1.0\r\n")) || bytes.Contains(request, []byte("\r\nConnection: close\r\n"))
			if last {
				c.Write(leave) // the client sees what is missing
				return
			}
			if _, err := c.Write(stay); err != nil {
				return
			}
			request = request[:0]
		case err != nil || len(request) == cap(request):
			return
		}
	}
}
