package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// get is the other end: `greeter get N URL` asks N times, each time by a connection of its own, and prints the
// answers. It lets a container that has no shell show what it reaches. udp://HOST:PORT asks by datagram.
func get(args []string, out io.Writer) error {
	if len(args) != 2 {
		return fmt.Errorf("want: greeter get N URL")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 {
		return fmt.Errorf("get %q times: want a number from 1", args[0])
	}
	target, err := url.Parse(args[1])
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: answerTime, Transport: &http.Transport{}}
	for i := range n {
		if target.Scheme == "udp" {
			err = ask(target.Host, firstPort+i, out)
		} else {
			err = fetch(client, args[1], out)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	answerTime = 5 * time.Second
	// firstPort is where datagrams come from, each from the port after the last one's: a port that is used again is
	// no new flow to the kernel, and goes where the one before went.
	firstPort = 20000
)

func fetch(client *http.Client, address string, out io.Writer) error {
	answer, err := client.Get(address)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", address, answer.Status)
	}
	_, err = io.Copy(out, io.LimitReader(answer.Body, 1<<20))
	// The client ends the connection, and so keeps its port from being used again for a while. A port that comes
	// back too soon by way of another node meets the memory of the old connection in the container.
	client.CloseIdleConnections()
	return err
}

func ask(address string, port int, out io.Writer) error {
	dialer := net.Dialer{Timeout: answerTime, LocalAddr: &net.UDPAddr{Port: port}}
	conn, err := dialer.Dial("udp4", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	answer := make([]byte, 1500)
	size, err := conn.Read(answer)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n", answer[:size])
	return err
}
