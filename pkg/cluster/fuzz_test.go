package cluster

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// FuzzWords hands one text to every short parser. What passes has a form that passes again, and is what one may print.
func FuzzWords(f *testing.F) {
	for _, s := range []string{
		"/dev/gpiomem:/dev/gpio:rwm", "TZ=Europe/Berlin", "HOME", "node.labels.room", "10.77.0.0/16", "8080/healthz", "net_raw",
		"RTMIN+3", "sigterm", "9", "greeters", "room.kitchen/shelf-1", "\x1b[2J", "64mib", "1e400g",
	} {
		f.Add(s)
	}
	lookup := func(name string) (string, bool) { return "v\x00", strings.HasPrefix(name, "H") }
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ParseDevice(s); err == nil {
			if err := d.validate(); err != nil {
				t.Errorf("device %q gives %+v, which does not hold: %v", s, d, err)
			}
		}
		if e, err := ParseEnv(s, lookup); err == nil {
			if err := validateEnv(e); err != nil {
				t.Errorf("variable %q gives %q, which does not hold: %v", s, e, err)
			}
		}
		if a, err := ParseSpread(s); err == nil {
			if again, err := ParseSpread(a); err != nil || again != a {
				t.Errorf("spread %q gives %q, and that %q, %v", s, a, again, err)
			}
		}
		if p, err := ParsePool(s); err == nil {
			if again, err := ParsePool(p.String()); err != nil || again != p {
				t.Errorf("pool %q gives %s, and that %s, %v", s, p, again, err)
			}
			if n := p.Nodes(); n < 1 || !p.Prefix().Contains(p.Subnet(n-1).Addr()) || !p.Prefix().Contains(p.VirtualIP(1).Prev()) {
				t.Errorf("pool %q: %d nodes, the last %s", s, n, p.Subnet(n-1))
			}
		}
		if path, _, err := ParseHealthHTTP(s); err == nil {
			if err := validateHealthPath(path); err != nil {
				t.Errorf("health check %q gives path %q: %v", s, path, err)
			}
		}
		if c, err := NormalizeCapability(s); err == nil {
			if again, err := NormalizeCapability(c); err != nil || again != c {
				t.Errorf("capability %q gives %q, and that %q, %v", s, c, again, err)
			}
		}
		if c, err := NormalizeSignal(s); err == nil {
			if again, err := NormalizeSignal(c); err != nil || again != c {
				t.Errorf("signal %q gives %q, and that %q, %v", s, c, again, err)
			}
		}
		if n, err := parseSize(s); err == nil && n < 0 {
			t.Errorf("size %q gives %d", s, n)
		}
		for what, err := range map[string]error{
			"service name": ValidateServiceName(s), "node name": ValidateNodeName(s), "label": ValidateLabels(map[string]string{s: s}),
		} {
			if err == nil && !isText(s) {
				t.Errorf("%q passes as a %s", s, what)
			}
		}
	})
}

// FuzzSpec: whatever passes as a spec passes again after it has gone over the wire, unchanged.
func FuzzSpec(f *testing.F) {
	for _, s := range []Spec{full(), {}, {Name: "web", Mode: GlobalJob, Container: Container{Image: "nginx"}}} {
		raw, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s Spec
		if json.Unmarshal(raw, &s) != nil {
			return
		}
		s = s.WithDefaults()
		if err := s.Validate(); err != nil {
			if strings.ContainsAny(err.Error(), "\r\n") || len(err.Error()) > 1000 {
				t.Errorf("an error of more than a line: %.2000q", err)
			}
			return
		}
		sent, err := json.Marshal(s)
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		var got Spec
		if err := json.Unmarshal(sent, &got); err != nil {
			t.Fatalf("%s: %v", sent, err)
		}
		if err := got.Validate(); err != nil || SpecVersion(got) != SpecVersion(s) || !reflect.DeepEqual(got.WithDefaults(), got) {
			t.Errorf("%s\narrives as\n%+v, %v", sent, got, err)
		}
	})
}
