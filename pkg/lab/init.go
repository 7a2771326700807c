package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// orders are what the owner tells a host's init.
type orders struct {
	Name     string      `json:"name"`
	Dir      string      `json:"dir"` // of the host, as the owner sees it
	Binary   string      `json:"binary"`
	Hosts    []string    `json:"hosts"` // lines of /etc/hosts
	Cgroups  []hierarchy `json:"cgroups"`
	Pure     bool        `json:"pure"` // cgroup v2 alone
	Services []service   `json:"services"`
}

// service is a program that init keeps running.
type service struct {
	Name  string   `json:"name"`
	Argv  []string `json:"argv"`
	After string   `json:"after"` // a socket that must be there before the first start
}

const (
	lineFD = 3 // the socket to the owner
	// initUp is what init answers when the host has its file system and its programs are being started.
	initUp = "up\n"
	// servicesVariable carries init's list of services over its second start.
	servicesVariable = "PISWARM_LAB_SERVICES"
	hostBinary       = "/usr/local/bin/piswarm"
)

// InitMain is process 1 of a host: what `piswarm lab init` runs. Only Start starts it. It ends when the host is powered
// off, has shut down, or the owner of the lab has ended, and never returns.
//
// It runs twice in the same process. The first time it builds the host around itself; a change of cgroup namespace
// holds for one thread, so it then replaces itself by a fresh program, which only supervises.
func InitMain() {
	line := os.NewFile(lineFD, "line")
	err := errors.New("not started by a lab")
	if services, ok := os.LookupEnv(servicesVariable); ok {
		err = superviseHost(line, services)
	} else if os.Getpid() == 1 {
		err = becomeHost(line)
	}
	fmt.Fprintln(os.Stderr, "piswarm: lab init:", err)
	os.Exit(1)
}

// becomeHost carries out the orders that come in over the line and replaces this program. It returns only an error.
func becomeHost(line io.Reader) error {
	// The owner sends one value and then nothing, so the decoder cannot read too far.
	var o orders
	if err := json.NewDecoder(line).Decode(&o); err != nil {
		return fmt.Errorf("read the orders: %w", err)
	}
	services, err := json.Marshal(o.Services)
	if err != nil {
		return err
	}
	return onOwnThread(func() error {
		// The owner has moved this process into the host's cgroups by now. They become the topmost it sees.
		if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		// A Pi's kernel has br_netfilter as a module, which nothing that runs here would load.
		if err := bridgesDoNotFilter(); err != nil {
			return err
		}
		if err := buildRoot(o); err != nil {
			return err
		}
		if err := unix.Sethostname([]byte(o.Name)); err != nil {
			return fmt.Errorf("set the host name: %w", err)
		}
		if _, err := unix.FcntlInt(lineFD, unix.F_SETFD, 0); err != nil {
			return fmt.Errorf("keep the line: %w", err)
		}
		env := append(os.Environ(), servicesVariable+"="+string(services))
		return fmt.Errorf("replace init: %w", unix.Exec(hostBinary, []string{"piswarm", "lab", "init"}, env))
	})
}

// superviseHost keeps the services running until SIGTERM asks for a shutdown, or the owner's end of the line is gone.
func superviseHost(line *os.File, text string) error {
	if err := os.Unsetenv(servicesVariable); err != nil {
		return err
	}
	unix.CloseOnExec(lineFD)
	var services []service
	if err := json.Unmarshal([]byte(text), &services); err != nil {
		return fmt.Errorf("read the services: %w", err)
	}
	ask := make(chan os.Signal, 1)
	signal.Notify(ask, unix.SIGTERM)
	r := startReaper()
	var running []*keeper
	for _, s := range services {
		out, err := openLog(hostLogDir + "/" + s.Name + ".log")
		if err != nil {
			return err
		}
		running = append(running, r.start(s, out))
	}
	go func() {
		<-ask
		shutDown(running)
		os.Exit(0)
	}()
	if _, err := io.WriteString(line, initUp); err != nil {
		return fmt.Errorf("answer the owner: %w", err)
	}
	if _, err := io.Copy(io.Discard, line); err != nil {
		return fmt.Errorf("the line to the owner: %w", err)
	}
	// The owner is gone. With process 1 ends everything else on the host.
	os.Exit(0)
	return nil
}
