package lab

import (
	"bufio"
	"io"
	"strings"
	"testing"
	"time"
)

// TestSplit parts the LAN: within a group and from the laptop all is as before, between groups nothing passes.
func TestSplit(t *testing.T) {
	l := startLab(t, 4)
	pis := []string{"pi1", "pi2", "pi3", "pi4"}
	check := func(what string, groups map[string]int) {
		t.Helper()
		for _, from := range append(pis, LaptopName) {
			for _, to := range pis {
				if from == to {
					continue
				}
				if groups[from] == groups[to] || groups[from] == 0 || groups[to] == 0 {
					// A host that just asked in vain for another's MAC may ask again only a second later.
					eventually(t, what+": "+to+" answers "+from, func() bool { return answers(t, l, from, to) })
				} else if answers(t, l, from, to) {
					t.Errorf("%s: %s answers %s", what, to, from)
				}
			}
		}
		for _, h := range l.List() {
			if h.Group != groups[h.Name] {
				t.Errorf("%s: %s is in group %d, want %d", what, h.Name, h.Group, groups[h.Name])
			}
		}
	}
	check("whole", nil)
	if err := l.Split([]string{"pi1", "pi2"}, []string{"pi3", "pi4"}); err != nil {
		t.Fatal(err)
	}
	check("2+2", map[string]int{"pi1": 1, "pi2": 1, "pi3": 2, "pi4": 2})
	if got := run(t, l, "pi1", "cat /sys/class/net/eth0/carrier", 0); got != "1" {
		t.Errorf("carrier of a host in a group: %s, want 1", got)
	}
	// A host that comes back is in its group; another cable can be pulled as ever.
	if err := l.PowerOff("pi3"); err != nil {
		t.Fatal(err)
	}
	if err := l.PowerOn(t.Context(), "pi3"); err != nil {
		t.Fatal(err)
	}
	check("2+2 after a power cut", map[string]int{"pi1": 1, "pi2": 1, "pi3": 2, "pi4": 2})
	// Another split follows without a moment of wholeness.
	if err := l.Split([]string{"pi1", "pi3"}, []string{"pi2"}); err != nil {
		t.Fatal(err)
	}
	check("2+1, pi4 between them", map[string]int{"pi1": 1, "pi3": 1, "pi2": 2})
	if err := l.PowerOff("pi2"); err != nil {
		t.Fatal(err)
	}
	if err := l.Unsplit(); err != nil {
		t.Fatal(err)
	}
	if err := l.PowerOn(t.Context(), "pi2"); err != nil {
		t.Fatal(err)
	}
	check("healed", nil)
	if err := l.Unsplit(); err != nil {
		t.Errorf("unsplit of a whole LAN: %v", err)
	}
}

// TestSplitMulticast: mDNS of one group is not heard in the other, and is again after the healing.
func TestSplitMulticast(t *testing.T) {
	l := startLab(t, 3)
	if err := l.Split([]string{"pi1", "pi2"}, []string{"pi3"}); err != nil {
		t.Fatal(err)
	}
	heard := map[string]chan string{"pi2": make(chan string, 1), "pi3": make(chan string, 1)}
	for host, lines := range heard {
		r, w := io.Pipe()
		go func() {
			_, err := l.Exec(t.Context(), host, []string{hostBinary, "stand-in-listener"}, Stdio{Out: w, Err: w})
			w.CloseWithError(err)
		}()
		in := bufio.NewScanner(r)
		if !in.Scan() || in.Text() != "listening" {
			t.Fatalf("%s: %q, error %v", host, in.Text(), in.Err())
		}
		go func() {
			in.Scan()
			lines <- in.Text()
			io.Copy(io.Discard, r)
		}()
	}
	conn, err := l.Dial(t.Context(), "pi1", "udp", mdnsGroup)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	say := func(word, host string) {
		t.Helper()
		if _, err := conn.Write([]byte(word)); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-heard[host]:
			if got != "192.168.77.11 "+word {
				t.Errorf("%s heard %q, want %q", host, got, word)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s did not hear %q", host, word)
		}
	}
	say("apart", "pi2")
	if err := l.Unsplit(); err != nil {
		t.Fatal(err)
	}
	// What pi3 hears first is not what was said while they were apart.
	say("together", "pi3")
}

func TestSplitMistakes(t *testing.T) {
	l := startLab(t, 2)
	for _, c := range []struct {
		groups [][]string
		want   string
	}{
		{[][]string{{"pi1", "pi2"}}, "two groups or more"},
		{[][]string{{"pi1"}, {}}, "group 2 is empty"},
		{[][]string{{"pi1"}, {"pi9"}}, `no host "pi9"`},
		{[][]string{{"pi1"}, {"pi2", "pi1"}}, "pi1 is named twice"},
	} {
		if err := l.Split(c.groups...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want %q", c.groups, err, c.want)
		}
	}
	if !answers(t, l, "pi1", "pi2") {
		t.Error("a refused split parted the LAN")
	}
}
