package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
)

// The responder keeps a connection for as long as the client wants it, and no longer.
func TestResponder(t *testing.T) {
	client, server := net.Pipe()
	done := make(chan struct{})
	go func() {
		respond(server, "me")
		server.Close()
		close(done)
	}()
	in := bufio.NewReader(client)
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
	} {
		// In two parts, as a network may deliver it.
		for _, part := range []string{request[:9], request[9:]} {
			fmt.Fprint(client, part)
		}
		answer, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK || string(body) != "Hello, Docker world from me.\n" {
			t.Errorf("answer %s %q, %v", answer.Status, body, err)
		}
	}
	<-done
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("%v after the last answer, want the end", err)
	}
}
