package cluster

import "testing"

func TestParseConstraint(t *testing.T) {
	for in, want := range map[string]Constraint{
		"node.labels.room==kitchen":     {"node.labels.room", false, "kitchen"},
		"node.labels.room != kitchen ":  {"node.labels.room", true, "kitchen"},
		" node.arch == arm64":           {"node.arch", false, "arm64"},
		"node.id!=a==b":                 {"node.id", true, "a==b"},
		"node.hostname==a!=b":           {"node.hostname", false, "a!=b"},
		"node.role==manager":            {"node.role", false, "manager"},
		"node.labels.com.x/y-z==living": {"node.labels.com.x/y-z", false, "living"},
	} {
		got, err := ParseConstraint(in)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", in, got, err, want)
		}
		if again, err := ParseConstraint(got.String()); err != nil || again != got {
			t.Errorf("%s: written as %s, read as %+v, %v", in, got, again, err)
		}
	}
	for in, words := range map[string]string{
		"":                    "for example node.labels.room==kitchen",
		"node.id":             "want ATTRIBUTE==VALUE",
		"node.id=x":           "want ATTRIBUTE==VALUE",
		"==x":                 "want ATTRIBUTE==VALUE",
		"!=x":                 "want ATTRIBUTE==VALUE",
		" ==x":                `unknown attribute ""`,
		"node.id==":           "the value is empty",
		"node.id!= ":          "the value is empty",
		"node.labels.==x":     "unknown attribute",
		"node.labels.a b==x":  "bad label key",
		"node.platform.os==x": "want node.id, node.hostname, node.arch",
		"room==kitchen":       `unknown attribute "room"`,
	} {
		_, err := ParseConstraint(in)
		t.Run(in, func(t *testing.T) { checkError(t, err, words) })
	}
}

func FuzzParseConstraint(f *testing.F) {
	f.Add("node.labels.room==kitchen")
	f.Add("node.id != a==b")
	f.Add("node.labels.a!==x")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseConstraint(s)
		if err != nil {
			checkError(t, err, "constraint")
			return
		}
		if again, err := ParseConstraint(c.String()); err != nil || again != c {
			t.Errorf("%q is %+v, written as %q, read as %+v, %v", s, c, c, again, err)
		}
		// A condition and its opposite never agree.
		opposite := c
		opposite.Not = !c.Not
		if n := (NodeFacts{ID: "a", Arch: "arm"}); c.Holds(n) == opposite.Holds(n) {
			t.Errorf("%s and %s agree", c, opposite)
		}
	})
}

func TestConstraintHolds(t *testing.T) {
	n := NodeFacts{ID: "1f", Hostname: "pi1", Arch: "arm64", Role: Manager, Labels: map[string]string{"room": "Kitchen"}}
	for s, want := range map[string]bool{
		"node.id==1f":               true,
		"node.id==1F":               true,
		"node.hostname==pi2":        false,
		"node.hostname!=pi2":        true,
		"node.arch==arm64":          true,
		"node.arch==arm":            false,
		"node.role==manager":        true,
		"node.labels.room==kitchen": true,
		"node.labels.room!=kitchen": false,
		"node.labels.shelf==1":      false,
		"node.labels.shelf!=1":      true,
	} {
		c, err := ParseConstraint(s)
		if err != nil || c.Holds(n) != want {
			t.Errorf("%s: %v, %v; want %v", s, c.Holds(n), err, want)
		}
	}
}

func TestParseSpread(t *testing.T) {
	for _, s := range []string{"spread=node.labels.room", " spread = node.labels.room "} {
		if got, err := ParseSpread(s); err != nil || got != "node.labels.room" {
			t.Errorf("%s: %s, %v", s, got, err)
		}
	}
	for in, words := range map[string]string{
		"":                  "want spread=ATTRIBUTE",
		"node.labels.room":  "want spread=ATTRIBUTE",
		"binpack=node.id":   "want spread=ATTRIBUTE",
		"spread=":           "unknown attribute",
		"spread=room":       "unknown attribute",
		"spread=node.room=": "unknown attribute",
	} {
		_, err := ParseSpread(in)
		t.Run(in, func(t *testing.T) { checkError(t, err, words) })
	}
}
