package discovery

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/piswarm/piswarm/pkg/cluster"
)

var zero = Waiting{
	ID: "0123456789abcdef", Name: "pi3", Platform: cluster.Platform{OS: "linux", Arch: "arm", Variant: "v6"}, Version: "v1.2.3-4-gabc",
}

// TestWaitingNodeIsHeard: a node that announces itself is listed without being asked for, and gone with its goodbye.
// Those who look for members do not see it.
func TestWaitingNodeIsHeard(t *testing.T) {
	const iface = "lo" // multicast works on it
	listener, err := Listen(iface)
	if err != nil {
		t.Fatal(err)
	}
	list := NewWaitlist()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- listener.Run(ctx, list) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	self := zero
	self.ID, self.Address = strings.ToLower(rand.Text()[:16]), netip.MustParseAddr("127.0.0.1") // others test here, too
	// The loopback's packets come from whatever address of this machine is first.
	heard := func() bool {
		return slices.ContainsFunc(list.List(), func(w Waiting) bool {
			ok := w.Address.IsValid()
			w.Address = self.Address
			return ok && w == self
		})
	}
	a, err := AnnounceWaiting(self, iface, "0a0b0c0d")
	if err != nil {
		t.Fatal(err)
	}
	awaitList(t, "the node", heard)
	if err := Look(ctx, iface, func(f Found) {
		if f.ID == self.ID {
			t.Errorf("a node without a cluster was found as %+v", f)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	awaitList(t, "its goodbye", func() bool { return !heard() })
}

func awaitList(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not heard: %s", what)
		}
	}
}

func TestWaitlist(t *testing.T) {
	at := func(n int) Waiting {
		w := zero
		w.ID, w.Address = fmt.Sprint(n), netip.AddrFrom4([4]byte{192, 0, 2, byte(n)})
		return w
	}
	t.Run("one for an address", func(t *testing.T) {
		l := NewWaitlist()
		first, second := at(1), at(1)
		second.ID = "other"
		l.hear(first, false)
		l.hear(second, false)
		if got := l.List(); !slices.Equal(got, []Waiting{second}) {
			t.Errorf("listed %v", got)
		}
		l.hear(first, true) // it is not the one that is listed
		if got := l.List(); len(got) != 1 {
			t.Errorf("listed %v", got)
		}
	})
	t.Run("bounded", func(t *testing.T) {
		l := NewWaitlist()
		for n := range 200 {
			l.hear(at(n), false)
		}
		if got := l.List(); len(got) != maxWaiting || !slices.Contains(got, at(0)) {
			t.Errorf("%d nodes are listed, want the first %d", len(got), maxWaiting)
		}
	})
	t.Run("forgotten", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			l := NewWaitlist()
			l.hear(at(1), false)
			l.hear(at(2), false)
			time.Sleep(3 * time.Minute)
			l.hear(at(2), false)
			time.Sleep(time.Minute)
			if got := l.List(); !slices.Equal(got, []Waiting{at(2)}) {
				t.Errorf("listed %v", got)
			}
		})
	})
}

func TestTextSaysWhatWasMeant(t *testing.T) {
	for _, want := range []text{
		{ID: "0123456789abcdef", Cluster: "abcdefgh"},
		{ID: "0123456789abcdef", Name: "pi3.local", Platform: "linux/arm64", Version: "0.0.0-dev"},
		{ID: "0123456789abcdef", Cluster: "abcdefgh", Was: "aaaaaaaa,bbbbbbbb"},
		{ID: "x"},
	} {
		if got, ok := parseText(want.record()); !ok || got != want {
			t.Errorf("%+v became %+v, %v", want, got, ok)
		}
	}
}

func TestTextRefusesJunk(t *testing.T) {
	for what, record := range map[string][]string{
		"nothing":         nil,
		"no id":           {"cluster=abc"},
		"no value":        {"id"},
		"a long id":       {"id=" + fmt.Sprintf("%065d", 0)},
		"a sign":          {"id=a b"},
		"an escape":       {`id=\027[31m`},
		"a raw escape":    {"id=\x1b[31m"},
		"letters of all":  {"id=é"},
		"a bad cluster":   {"id=x", "cluster=a\nb"},
		"a bad past":      {"id=x", "cluster=a", "was=a b"},
		"a long past":     {"id=x", "cluster=a", "was=" + fmt.Sprintf("%0201d", 0)},
		"a bad name":      {"id=x", "name=$(reboot)"},
		"a long name":     {"id=x", "name=" + fmt.Sprintf("%064d", 0)},
		"half a platform": {"id=x", "platform=linux"},
		"a long platform": {"id=x", "platform=linux/arm/v6/v7"},
		"a bad version":   {"id=x", "version=1;2"},
		"too much":        make([]string, 17),
		"a second id":     {"id=", "id=x"},
	} {
		if got, ok := parseText(record); ok {
			t.Errorf("%s: taken as %+v", what, got)
		}
	}
}

func FuzzTXT(f *testing.F) {
	for _, t := range []text{
		{ID: "0123456789abcdef", Cluster: "abcdefgh"},
		{ID: zero.ID, Name: zero.Name, Platform: zero.Platform.String(), Version: zero.Version},
	} {
		f.Add(packet(f, t.record()...))
	}
	f.Add(packet(f, `id=\027[31m`, "cluster="))
	f.Fuzz(func(t *testing.T, packet []byte) {
		w, _, ok := readPacket(packet)
		if !ok {
			return
		}
		for _, s := range []string{w.ID, w.Name, w.Platform.OS, w.Platform.Arch, w.Platform.Variant, w.Version} {
			if len(s) > 64 {
				t.Errorf("%d bytes were taken: %q", len(s), s)
			}
			for _, c := range []byte(s) {
				if c <= ' ' || c > '~' {
					t.Errorf("not printable: %q", s)
				}
			}
		}
		if w.ID == "" {
			t.Error("a node without an ID")
		}
		said := text{ID: w.ID, Name: w.Name, Version: w.Version}
		if w.Platform.OS != "" {
			said.Platform = w.Platform.String()
		}
		if again, ok := parseText(said.record()); !ok || again != said {
			t.Errorf("%+v is read as %+v, %v", said, again, ok)
		}
	})
}

// packet is an announcement with that text.
func packet(t testing.TB, record ...string) []byte {
	t.Helper()
	m := dns.Msg{MsgHdr: dns.MsgHdr{Response: true}, Answer: []dns.RR{&dns.TXT{
		Hdr: dns.RR_Header{Name: "x." + serviceType + "." + domain, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 120}, Txt: record,
	}}}
	raw, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestPacketsThatDoNotCount: a question, a member's word and another service's.
func TestPacketsThatDoNotCount(t *testing.T) {
	good := packet(t, "id=x")
	if w, _, ok := readPacket(good); !ok || w.ID != "x" {
		t.Fatalf("a good packet was read as %+v, %v", w, ok)
	}
	question := slices.Clone(good)
	question[2] &^= 0x80
	for what, raw := range map[string][]byte{
		"a question":   question,
		"a member":     packet(t, "id=x", "cluster=y"),
		"cut short":    good[:len(good)-1],
		"too long":     append(slices.Clone(good), make([]byte, maxPacket)...),
		"not about us": []byte("hello"),
	} {
		if w, _, ok := readPacket(raw); ok {
			t.Errorf("%s: taken as %+v", what, w)
		}
	}
}
