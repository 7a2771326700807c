package trust

import (
	"crypto/tls"
	"testing"
)

// steps are a node's keyrings on the way from one secret to the next.
func steps(t *testing.T, a, b Secret) []Keyring {
	t.Helper()
	before := Keyring{Primary: a}
	installed, err := before.Install(b)
	if err != nil {
		t.Fatal(err)
	}
	used, err := installed.Use(b)
	if err != nil {
		t.Fatal(err)
	}
	after, err := used.Finish(b)
	if err != nil {
		t.Fatal(err)
	}
	return []Keyring{before, installed, used, after}
}

// Two nodes at the same or neighbouring steps understand each other, in both directions. Beyond that, who holds both
// secrets still gets through to who holds one: one that came late is given the new secret so, and one that missed the
// rest hears of it so.
func TestNeighbouringStepsUnderstandEachOther(t *testing.T) {
	all := steps(t, NewSecret(), NewSecret())
	for i, server := range all {
		for j, client := range all {
			a, err := NewIdentity(server, "aaaa")
			if err != nil {
				t.Fatal(err)
			}
			b, err := NewIdentity(client, "bbbb")
			if err != nil {
				t.Fatal(err)
			}
			id, err := handshake(t, a.Server(), b.Client("aaaa"))
			want := i-j <= 1 && j-i <= 1 || i == 0 && j == 2 || i == 3 && j == 1
			if want && (err != nil || id != "bbbb") {
				t.Errorf("step %d does not take in step %d: %v", i, j, err)
			} else if !want && err == nil {
				t.Errorf("step %d takes in step %d", i, j)
			}
		}
	}
}

func TestServerFollowsTheKeyring(t *testing.T) {
	a, b := NewSecret(), NewSecret()
	all := steps(t, a, b)
	server, err := NewIdentity(all[0], "aaaa")
	if err != nil {
		t.Fatal(err)
	}
	config := server.Server()
	old, err := NewIdentity(Keyring{Primary: a}, "bbbb")
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := NewIdentity(Keyring{Primary: b}, "cccc")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct{ old, fresh bool }{{true, false}, {true, false}, {false, true}, {false, true}} {
		if err := server.Set(all[i]); err != nil {
			t.Fatal(err)
		}
		if _, err := handshake(t, config, old.Client("aaaa")); (err == nil) != want.old {
			t.Errorf("step %d, old secret: %v", i, err)
		}
		if _, err := handshake(t, config, fresh.Client("aaaa")); (err == nil) != want.fresh {
			t.Errorf("step %d, new secret: %v", i, err)
		}
	}
}

// A connection that was made under the secret of before is known for what it is once that one is forgotten.
func TestCurrent(t *testing.T) {
	a, b := NewSecret(), NewSecret()
	all := steps(t, a, b)
	server, err := NewIdentity(all[0], "aaaa")
	if err != nil {
		t.Fatal(err)
	}
	client, err := NewIdentity(all[0], "bbbb")
	if err != nil {
		t.Fatal(err)
	}
	var seen tls.ConnectionState
	config := client.Client("aaaa")
	inner, err := server.Server().GetConfigForClient(nil)
	if err != nil {
		t.Fatal(err)
	}
	inner.VerifyConnection = func(s tls.ConnectionState) error { seen = s; return nil }
	if _, err := handshake(t, inner, config); err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, true, true, false} {
		if err := server.Set(all[i]); err != nil {
			t.Fatal(err)
		}
		if got := server.Current(&seen); got != want {
			t.Errorf("step %d: current is %v", i, got)
		}
	}
	if server.Current(nil) {
		t.Error("no connection is current")
	}
	if !client.Shows(seen.PeerCertificates[0]) || server.Shows(seen.PeerCertificates[0]) {
		t.Error("the client's certificate is not known as its own, or as the server's")
	}
}

func TestStepsThatDoNotFit(t *testing.T) {
	a, b, c := NewSecret(), NewSecret(), NewSecret()
	all := steps(t, a, b)
	before, installed, used, after := all[0], all[1], all[2], all[3]
	for what, err := range map[string]error{
		"use of what was not installed": second(before.Use(b)),
		"use of another":                second(installed.Use(c)),
		"finish before use":             second(installed.Finish(b)),
		"install in the middle":         second(used.Install(c)),
		"drop of what is in use":        second(used.Drop(b)),
		"use of nothing":                second(before.Use(Secret{})),
		"install of nothing":            second(before.Install(Secret{})),
	} {
		if err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	// Each step may be told twice, and a late one changes nothing.
	for what, again := range map[string]struct {
		got, want Keyring
	}{
		"install": {first(installed.Install(b)), installed},
		"late":    {first(used.Install(b)), used},
		"use":     {first(used.Use(b)), used},
		"finish":  {first(after.Finish(b)), after},
		"drop":    {first(before.Drop(b)), before},
		"back":    {first(installed.Drop(b)), before},
		"instead": {first(installed.Install(c)), Keyring{Primary: a, Other: c, Coming: true}},
	} {
		if again.got != again.want {
			t.Errorf("%s: another keyring than expected", what)
		}
	}
	if !used.Accepts(a) || !used.Accepts(b) || used.Accepts(c) || before.Accepts(Secret{}) || after.Moving() {
		t.Error("a keyring accepts what it must not, or the other way round")
	}
}

func first(k Keyring, _ error) Keyring  { return k }
func second(_ Keyring, err error) error { return err }
