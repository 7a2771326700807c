// Command escape tries to get out of the container that it runs in, in all the ways that it knows, and answers on port
// 5000 with how far it got. The tests of whole clusters run it in a container as it comes, where all of it must be refused,
// and in a privileged one, where much of it is not.
//
//	escape ADDRESS...    the addresses of the nodes
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"
)

// attempt is one way out. An error is a refusal.
type attempt struct {
	name string
	try  func() error
}

func main() {
	if len(os.Args) > 1 {
		// What an attempt runs as a program of its own.
		switch os.Args[1] {
		case "euid":
			fmt.Print(os.Geteuid())
			return
		case "sleep":
			time.Sleep(time.Minute)
			return
		}
	}
	attempts := slices.Concat(privileges(), kernelFiles(), devices(), neighbours(os.Args[1:]))
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		for _, a := range attempts {
			if only := r.URL.Query().Get("try"); only != "" && !slices.Contains(strings.Split(only, ","), a.name) {
				continue
			}
			result := "allowed"
			if err := a.try(); err != nil {
				result = "refused: " + err.Error()
			}
			fmt.Fprintf(w, "%s\t%s\n", a.name, result)
		}
	})
	http.HandleFunc("/self", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "pid %d uid %d gid %d\n", os.Getpid(), os.Getuid(), os.Getgid())
	})
	http.HandleFunc("/bomb", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, bomb()) })
	log.Fatal(http.ListenAndServe(":5000", nil))
}
