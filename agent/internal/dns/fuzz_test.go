package dns

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/miekg/dns"
)

// written takes what is answered.
type written struct {
	dns.ResponseWriter
	from   net.Addr
	answer *dns.Msg
}

func (w *written) RemoteAddr() net.Addr      { return w.from }
func (w *written) WriteMsg(m *dns.Msg) error { w.answer = m; return nil }

// FuzzQuery is what a container sends. Whatever is a question is answered with what fits the way that it came by.
func FuzzQuery(f *testing.F) {
	for _, name := range []string{"web.", "tasks.web.piswarm.", "nobody.piswarm.", "example.org."} {
		for _, q := range []*dns.Msg{
			new(dns.Msg).SetQuestion(name, dns.TypeA), new(dns.Msg).SetQuestion(name, dns.TypeANY).SetEdns0(65535, true), new(dns.Msg).SetUpdate(name),
		} {
			raw, err := q.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(raw)
		}
	}
	s := New(Config{Address: netip.MustParseAddrPort("10.77.0.1:53"), ResolvConf: filepath.Join(f.TempDir(), "none")})
	var tasks []netip.Addr
	for a := netip.MustParseAddr("10.77.1.1"); len(tasks) < 2000; a = a.Next() {
		tasks = append(tasks, a)
	}
	s.Set([]Service{{Name: "Web", VirtualIP: tasks[0], Tasks: tasks}})
	f.Fuzz(func(t *testing.T, raw []byte) {
		q := new(dns.Msg)
		if q.Unpack(raw) != nil {
			return // the library answers by itself
		}
		for from, limit := range map[net.Addr]int{&net.UDPAddr{}: min(udpSize(q), maxUDP), &net.TCPAddr{}: dns.MaxMsgSize} {
			w := &written{from: from}
			s.serve(context.Background(), w, q)
			if w.answer == nil || w.answer.Id != q.Id || !w.answer.Response {
				t.Fatalf("%v\nis answered with\n%v", q, w.answer)
			}
			out, err := w.answer.Pack()
			if err != nil {
				continue // a question that cannot be repeated: nothing is sent
			}
			if len(out) > limit && len(out) > len(raw)+64 {
				t.Fatalf("%v\nis answered over %s with %d bytes, more than %d", q, from.Network(), len(out), limit)
			}
		}
	})
}
