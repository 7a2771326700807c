package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// standInPort is where the stand-in for an agent answers on the LAN.
const standInPort = "7000"

// answers tells whether one host gets an answer from another.
func answers(t *testing.T, l *Lab, from, to string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	conn, err := l.Dial(ctx, from, "tcp", net.JoinHostPort(to, standInPort))
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

func TestCut(t *testing.T) {
	l := startLab(t, 2)
	if !answers(t, l, "pi1", "pi2") || !answers(t, l, "laptop", "pi2") {
		t.Fatal("pi2 does not answer")
	}
	if err := l.Cut("pi2"); err != nil {
		t.Fatal(err)
	}
	if answers(t, l, "pi1", "pi2") || answers(t, l, "pi2", "pi1") {
		t.Error("pi2 is still there")
	}
	if got := run(t, l, "pi2", "cat /sys/class/net/eth0/carrier; ip -4 -o addr show eth0", 0); !strings.HasPrefix(got, "0\n") || !strings.Contains(got, "192.168.77.12") {
		t.Errorf("pi2 sees %q, want no carrier and its address", got)
	}
	if !answers(t, l, "laptop", "pi1") {
		t.Error("pi1 is gone, too")
	}
	// The cable stays pulled through a power cut.
	if err := l.PowerOff("pi2"); err != nil {
		t.Fatal(err)
	}
	if err := l.PowerOn(t.Context(), "pi2"); err != nil {
		t.Fatal(err)
	}
	if answers(t, l, "pi1", "pi2") || l.List()[1].Network != "cut" {
		t.Error("the power healed the cable")
	}
	if err := l.Heal("pi2"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "pi2 is back", func() bool { return answers(t, l, "pi1", "pi2") && answers(t, l, "pi2", "pi1") })
}

// TestMulticast sends what mDNS sends. The switch must not learn who listens, for it would forget.
func TestMulticast(t *testing.T) {
	l := startLab(t, 3)
	heard := make(chan string, 2)
	for _, host := range []string{"pi2", "pi3"} {
		r, w := io.Pipe()
		go func() {
			_, err := l.Exec(t.Context(), host, []string{hostBinary, "stand-in-listener"}, Stdio{Out: w, Err: w})
			w.CloseWithError(err)
		}()
		lines := bufio.NewScanner(r)
		if !lines.Scan() || lines.Text() != "listening" {
			t.Fatalf("%s: %q, error %v", host, lines.Text(), lines.Err())
		}
		go func() {
			lines.Scan()
			heard <- lines.Text()
			io.Copy(io.Discard, r)
		}()
	}
	conn, err := l.Dial(t.Context(), "pi1", "udp", mdnsGroup)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		select {
		case got := <-heard:
			if got != "192.168.77.11 hello" {
				t.Errorf("heard %q", got)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("not heard")
		}
	}
}

const mdnsGroup = "224.0.0.251:5353"

// standInListener prints the first datagram to the group of mDNS.
func standInListener() {
	group, err := net.ResolveUDPAddr("udp4", mdnsGroup)
	if err != nil {
		panic(err)
	}
	eth, err := net.InterfaceByName(lanInterface)
	if err != nil {
		panic(err)
	}
	conn, err := net.ListenMulticastUDP("udp4", eth, group)
	if err != nil {
		panic(err)
	}
	fmt.Println("listening")
	buffer := make([]byte, 100)
	n, from, err := conn.ReadFromUDP(buffer)
	if err != nil {
		panic(err)
	}
	fmt.Println(from.IP, string(buffer[:n]))
	os.Exit(0)
}

// TestForward goes through the machine's loopback to a Pi, and to the next when the first is gone.
func TestForward(t *testing.T) {
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := probe.Addr().(*net.TCPAddr).Port
	opt := testOptions(t, 2)
	opt.Forward = []int{port}
	if _, err := Start(t.Context(), opt); err == nil || !strings.Contains(err.Error(), strconv.Itoa(port)) {
		t.Fatalf("a port that is taken: error %v", err)
	}
	probe.Close()
	// The stand-in listens on its own port; a rule of the host leads there.
	l, err := Start(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, host := range []string{"pi1", "pi2"} {
		run(t, l, host, fmt.Sprintf("iptables -t nat -A PREROUTING -p tcp --dport %d -j REDIRECT --to-ports %s", port, standInPort), 0)
	}
	ask := func() string {
		client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
		if err != nil {
			return err.Error()
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return err.Error()
		}
		return string(body)
	}
	if got := ask(); got != "pi1" {
		t.Errorf("got %q, want pi1", got)
	}
	if err := l.PowerOff("pi1"); err != nil {
		t.Fatal(err)
	}
	if got := ask(); got != "pi2" {
		t.Errorf("got %q, want pi2", got)
	}
	if out, err := exec.Command("sh", "-c", "ip -o link | grep -c lan").CombinedOutput(); err == nil {
		t.Errorf("the machine has links of the lab: %s", out)
	}
}
