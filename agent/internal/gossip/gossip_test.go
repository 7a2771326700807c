package gossip

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"
)

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func start(t *testing.T, id string, key byte, cfg Config) (*Gossip, netip.AddrPort) {
	t.Helper()
	cfg.ID, cfg.Key = id, bytes.Repeat([]byte{key}, 32)
	cfg.Address, cfg.Port = netip.MustParseAddr("127.0.0.1"), freePort(t)
	cfg.Log = slog.New(slog.DiscardHandler)
	g, err := Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g, netip.AddrPortFrom(cfg.Address, uint16(cfg.Port))
}

// eventually waits for what other processes and threads bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("%s: not within 10 s", what)
}

func conditions(g *Gossip) string {
	text := ""
	for _, m := range g.Members() {
		text += fmt.Sprintf("%s=%s ", m.ID, m.Condition)
	}
	return text
}

func TestMembersMeetTalkAndPart(t *testing.T) {
	a, _ := start(t, "a", 1, Config{Name: "pi", Payload: func() []byte { return []byte("digest of a") }})
	acks := make(chan string, 100)
	b, bAddr := start(t, "b", 1, Config{Name: "pi", OnAck: func(peer string, payload []byte, _ time.Duration) {
		select {
		case acks <- peer + ": " + string(payload):
		default:
		}
	}})
	if n, err := a.Join([]netip.AddrPort{bAddr}); n != 1 || err != nil {
		t.Fatalf("Join = %d, %v", n, err)
	}
	eventually(t, "two members", func() bool { return conditions(b) == "a=ready b=ready " })
	if got := b.Members()[0]; got.Name != "pi" || got.Address != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("b sees %+v", got)
	}

	message := bytes.Repeat([]byte("m"), MaxMessage)
	if err := a.Broadcast(message); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-b.Messages():
		if !bytes.Equal(got, message) {
			t.Errorf("b got %d bytes, not the message", len(got))
		}
	case <-time.After(5 * time.Second):
		t.Fatal("the largest message did not arrive")
	}
	if err := a.Broadcast(append(message, 'm')); err == nil {
		t.Error("a message over the limit was taken")
	}
	select {
	case got := <-acks:
		if got != "a: digest of a" {
			t.Errorf("ack %q", got)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("no acknowledgement carried a payload")
	}

	a.Close()
	eventually(t, "a is seen down", func() bool { return conditions(b) == "a=down b=ready " })
	if err := b.Forget("a"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a is forgotten", func() bool { return conditions(b) == "b=ready " })
}

func TestAnotherKeyStaysOut(t *testing.T) {
	a, _ := start(t, "a", 1, Config{})
	b, bAddr := start(t, "b", 2, Config{})
	if n, err := a.Join([]netip.AddrPort{bAddr}); n != 0 || err == nil {
		t.Fatalf("Join = %d, %v; want refused", n, err)
	}
	if got := conditions(a) + "| " + conditions(b); got != "a=ready | b=ready " {
		t.Errorf("members: %s", got)
	}
}

func TestCloseEndsAConnectionUnderWay(t *testing.T) {
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	a, _ := start(t, "a", 1, Config{})
	joined := make(chan error, 1)
	go func() {
		_, err := a.Join([]netip.AddrPort{deaf.Addr().(*net.TCPAddr).AddrPort()})
		joined <- err
	}()
	connection, err := deaf.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	began := time.Now()
	a.Close()
	if err := <-joined; err == nil || time.Since(began) > 2*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
}

// lines counts what is logged as a warning or worse.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(b))
	return len(b), nil
}

// TestStrangersAreBounded: one who does not know the key and fills connections and packets with junk makes the member
// neither remember more than a few of them nor write a line for each.
func TestStrangersAreBounded(t *testing.T) {
	var log lines
	key, port := bytes.Repeat([]byte{1}, 32), freePort(t)
	a, err := Start(Config{
		ID: "a", Key: key, Address: netip.MustParseAddr("127.0.0.1"), Port: port, Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	at := fmt.Sprintf("127.0.0.1:%d", port)

	// One that says that twenty megabytes will follow is heard for maxStream bytes.
	greedy, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer greedy.Close()
	greedy.SetDeadline(time.Now().Add(20 * time.Second))
	head := []byte{10, 0x01, 0x3f, 0xff, 0xff} // encryptMsg, and how long it is
	sent, err := greedy.Write(head)
	for chunk := make([]byte, 16<<10); err == nil && sent < 20<<20; {
		var n int
		n, err = greedy.Write(chunk)
		sent += n
	}
	if err == nil {
		t.Errorf("%d bytes are taken from a stranger", sent)
	}

	// Those who say nothing are cut off.
	var idle []net.Conn
	for range 100 {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		idle = append(idle, c)
	}
	open := 0
	for _, c := range idle {
		c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			open++
		}
	}
	if open > strangers.PerAddress {
		t.Errorf("%d of 100 silent connections are open, want at most %d", open, strangers.PerAddress)
	}

	junk, err := net.Dial("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer junk.Close()
	for i := range 1000 {
		if _, err := junk.Write(bytes.Repeat([]byte{byte(i)}, 1+i)); err != nil && !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatal(err)
		}
	}
	// A member is heard all the same, from the same address.
	b, _ := start(t, "b", 1, Config{})
	eventually(t, "a member joins", func() bool {
		n, _ := b.Join([]netip.AddrPort{netip.MustParseAddrPort(at)})
		return n == 1
	})
	if got := conditions(a); got != "a=ready b=ready " {
		t.Errorf("members: %s", got)
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	if len(log.all) > 3 {
		t.Errorf("%d lines are logged, the first: %s", len(log.all), log.all[:3])
	}
}

func TestSeldom(t *testing.T) {
	var s seldom
	now := time.Now()
	for i, want := range []struct {
		after  time.Duration
		missed int
		due    bool
	}{{0, 0, true}, {time.Second, 0, false}, {time.Minute, 0, false}, {strangersEvery, 2, true}, {strangersEvery + time.Second, 0, false}} {
		if missed, due := s.due(now.Add(want.after)); missed != want.missed || due != want.due {
			t.Errorf("%d: %d, %v", i, missed, due)
		}
	}
}

// The key changes while packets come and go by real sockets: what memberlist reads without a lock is never written.
func TestKeyChangesOnTheWire(t *testing.T) {
	a, _ := start(t, "a", 1, Config{})
	b, bAddr := start(t, "b", 1, Config{})
	if n, err := a.Join([]netip.AddrPort{bAddr}); n != 1 || err != nil {
		t.Fatalf("Join = %d, %v", n, err)
	}
	eventually(t, "two members", func() bool { return conditions(b) == "a=ready b=ready " })
	key := func(k byte) []byte { return bytes.Repeat([]byte{k}, 32) }
	for k := byte(1); k < 20; k++ {
		for _, step := range [][2][]byte{{key(k), key(k + 1)}, {key(k + 1), key(k)}, {key(k + 1), nil}} {
			for _, g := range []*Gossip{a, b} {
				if err := g.SetKeys(step[0], step[1]); err != nil {
					t.Fatal(err)
				}
				if err := g.Broadcast([]byte("message")); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(30 * time.Millisecond)
		}
	}
	if got := conditions(a) + "| " + conditions(b); got != "a=ready b=ready | a=ready b=ready " {
		t.Errorf("members: %s", got)
	}
}
