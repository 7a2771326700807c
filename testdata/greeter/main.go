// Command greeter is the example service of piswarm: it says which container answers.
//
//	GET /         Hello, Docker world from <hostname>.
//	GET /whoami   the client's address as the container sees it
//
// Any UDP datagram to the same port is answered with the greeting, too. GREETER_VERSION, if set, makes the greeting
// end in it, so that an update can be seen. `greeter get N URL` is a client.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const (
	address = ":5000"
	// drain is how long requests may take to end after SIGTERM. It is shorter than the time after which a container
	// is killed.
	drain = 5 * time.Second
	// goodbye is for how long, of that, clients are told with each answer to open another connection. Ending a
	// connection under a client that is about to ask again would fail its request.
	goodbye = time.Second
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "get" {
		if err := get(os.Args[2:], os.Stdout); err != nil {
			log.Fatal(err)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hostname, err := os.Hostname()
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("%s answers on port %s", hostname, address[1:])
	if err := run(ctx, address, greeting(hostname, os.Getenv("GREETER_VERSION"))); err != nil {
		log.Fatal(err)
	}
}

func greeting(hostname, version string) string {
	text := "Hello, Docker world from " + hostname + "."
	if version != "" {
		text += " " + version
	}
	return text
}

// run answers on address, by TCP and UDP, until ctx ends.
func run(ctx context.Context, address, greeting string) error {
	udp, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	defer udp.Close()
	tcp, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler(ctx, greeting), ReadHeaderTimeout: drain}
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(tcp) }()
	go func() { failed <- answerDatagrams(udp, greeting) }()
	select {
	case err := <-failed:
		return errors.Join(err, server.Close())
	case <-ctx.Done():
	}
	time.Sleep(goodbye)
	wait, cancel := context.WithTimeout(context.Background(), drain-goodbye)
	defer cancel()
	return server.Shutdown(wait)
}

// handler answers. Once ending is done, each answer is the last one of its connection.
func handler(ending context.Context, greeting string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, greeting) })
	mux.HandleFunc("GET /whoami", func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, host)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if ending.Err() != nil {
			w.Header().Set("Connection", "close")
		}
		mux.ServeHTTP(w, r)
	})
}

// answerDatagrams answers whatever comes in. It returns when the socket is closed.
func answerDatagrams(conn net.PacketConn, greeting string) error {
	buffer := make([]byte, 1500)
	for {
		_, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return err
		}
		// A client that is gone again is no reason to end.
		if _, err := conn.WriteTo([]byte(greeting), from); errors.Is(err, net.ErrClosed) {
			return err
		}
	}
}
