// Command program is what the containers of the tests run. It does what its first argument says.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	switch os.Args[1] {
	case "sleep":
		sleep()
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("up")
		time.Sleep(time.Hour)
	case "exit":
		code, _ := strconv.Atoi(os.Args[2])
		os.Exit(code)
	case "facts":
		json.NewEncoder(os.Stdout).Encode(facts())
	case "print":
		fmt.Println(os.Args[2])
		for _, text := range os.Args[3:] {
			fmt.Fprintln(os.Stderr, text)
		}
	case "read":
		read(os.Args[2])
	case "flood":
		flood()
	case "orphans":
		orphans()
	case "eat":
		eat()
	case "talk":
		talk()
	case "tick":
		for i := 0; ; i++ {
			fmt.Println("tick", i)
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// talk says who it is and how large its terminal is, repeats its input, and starts what goes on in the background.
func talk() {
	size := func() string {
		var s struct{ rows, columns, x, y uint16 }
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, 1, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&s))); errno != 0 {
			return "no terminal"
		}
		return fmt.Sprintf("%dx%d", s.rows, s.columns)
	}
	dir, _ := os.Getwd()
	fmt.Println(os.Getuid(), os.Getgid(), dir, os.Getenv("FROM"), os.Getenv("TERM"), size())
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	go func() {
		for range resized {
			fmt.Println("resized", size())
		}
	}()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch text := in.Text(); text {
		case "child":
			if err := exec.Command("/program", "sleep").Start(); err != nil {
				fmt.Println(err)
			}
			fmt.Println("started")
		case "exit":
			os.Exit(3)
		case "pour":
			fmt.Print(strings.Repeat("a line of it\n", 80_000), "the end\n")
			os.Exit(5)
		default:
			fmt.Println("said", text)
			fmt.Fprintln(os.Stderr, "heard", text)
		}
	}
	os.Exit(7)
}

// read prints the owner and the mode of a file, and what it says.
func read(path string) {
	var st syscall.Stat_t
	err := syscall.Stat(path, &st)
	text, readErr := os.ReadFile(path)
	if err = errors.Join(err, readErr); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Printf("%d:%d %04o %s", st.Uid, st.Gid, st.Mode&0o7777, text)
}

func sleep() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGUSR1)
	fmt.Println("up")
	if <-ended == syscall.SIGUSR1 {
		os.Exit(10)
	}
}

// flood writes numbered lines, as fast as it can, until it wrote the megabytes it was told to, and then sleeps.
func flood() {
	megabytes, _ := strconv.Atoi(os.Args[2])
	var block bytes.Buffer
	for n := 0; n < megabytes<<20; {
		block.Reset()
		for block.Len() < 64<<10 {
			fmt.Fprintf(&block, "line at byte %d\n", n+block.Len())
		}
		os.Stdout.Write(block.Bytes())
		n += block.Len()
	}
	fmt.Println("flood ends")
	sleep()
}

// orphans leaves three children of children behind, and tells how many are zombies once they have ended.
func orphans() {
	if len(os.Args) > 2 {
		if os.Args[2] == "0" {
			return
		}
		for range 3 {
			exec.Command(os.Args[0], "orphans", "0").Start()
		}
		return
	}
	fmt.Println("pid", os.Getpid())
	exec.Command(os.Args[0], "orphans", "3").Run()
	time.Sleep(time.Second)
	zombies := 0
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range all {
		text, _ := os.ReadFile(path)
		if _, state, _ := strings.Cut(string(text), ") "); strings.HasPrefix(state, "Z") {
			zombies++
		}
	}
	fmt.Println("zombies", zombies)
	os.Exit(3)
}

func eat() {
	var eaten [][]byte
	for {
		block := make([]byte, 1<<20)
		for i := range block {
			block[i] = 1
		}
		eaten = append(eaten, block)
		time.Sleep(time.Millisecond)
	}
}

// facts are what a container sees of itself.
func facts() map[string]any {
	f := map[string]any{"args": os.Args[1:], "env": os.Environ(), "uid": os.Getuid(), "gid": os.Getgid()}
	f["hostname"], _ = os.Hostname()
	f["cwd"], _ = os.Getwd()
	f["groups"], _ = os.Getgroups()
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if key, value, _ := strings.Cut(line, ":"); key == "CapBnd" || key == "CapEff" || key == "NoNewPrivs" || key == "Seccomp" {
			f[key] = strings.TrimSpace(value)
		}
	}
	for _, path := range []string{
		"/proc/sys/net/ipv4/ping_group_range", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/self/oom_score_adj",
		"/etc/hosts", "/etc/resolv.conf", "/etc/hostname", "/data/seed", "/bound/file", "/proc/keys", "/proc/self/cgroup",
	} {
		text, err := os.ReadFile(path)
		f[path] = strings.TrimSpace(string(text))
		if err != nil {
			f[path] = "error: " + err.Error()
		}
	}
	for _, dir := range []string{"/", "/data", "/tmp", "/bound", "/etc/hosts"} {
		path := dir
		if dir != "/etc/hosts" {
			path = dir + "/written"
		}
		err := os.WriteFile(path, []byte("x"), 0o600)
		f["write "+dir] = err == nil
	}
	_, err := net.ListenPacket("ip4:icmp", "127.0.0.1")
	f["raw socket"] = err == nil
	ping, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, syscall.IPPROTO_ICMP)
	f["ping socket"] = err == nil
	syscall.Close(ping)
	_, err = net.Listen("tcp", ":80")
	f["port 80"] = err == nil
	f["mknod"] = syscall.Mknod("/tmp/node", syscall.S_IFCHR|0o600, 1<<8|3) == nil
	_, err = os.Stat("/dev/given")
	f["device"] = err == nil
	var st syscall.Stat_t
	if syscall.Stat("/data", &st) == nil {
		f["data owner"] = st.Uid
	}
	return f
}
