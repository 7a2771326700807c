package trust

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestSealedValueOpensAgain(t *testing.T) {
	s, other := NewSecret(), NewSecret()
	for _, plain := range [][]byte{[]byte("pass word\n"), {0}, bytes.Repeat([]byte("x"), 200_000), {}} {
		sealed, err := s.Seal("secret/db", plain)
		if err != nil {
			t.Fatal(err)
		}
		if len(plain) > 1 && bytes.Contains(sealed, plain[:8]) {
			t.Fatal("the value is in the sealed bytes")
		}
		if len(sealed) != len(plain)+SealOverhead {
			t.Errorf("%d bytes became %d, want %d more", len(plain), len(sealed), SealOverhead)
		}
		if !s.SealedBy(sealed) || other.SealedBy(sealed) {
			t.Error("it does not say with which secret it was sealed")
		}
		for _, secrets := range [][]Secret{{s}, {s, other}, {other, s}} {
			if got, err := Open("secret/db", sealed, secrets...); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("opened: %d bytes, %v", len(got), err)
			}
		}
		if _, err := Open("secret/db", sealed, other); !errors.Is(err, ErrSealed) {
			t.Errorf("with another secret: %v, want ErrSealed", err)
		}
	}
}

func TestSealedValueIsBoundToItsName(t *testing.T) {
	s := NewSecret()
	sealed, err := s.Seal("secret/a", []byte("value"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open("secret/b", sealed, s); err == nil {
		t.Error("the value of one name was opened as that of another")
	}
}

func TestChangedSealedValueIsRefused(t *testing.T) {
	s := NewSecret()
	sealed, err := s.Seal("secret/a", []byte("the value"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := Open("secret/a", changed, s); err == nil {
			t.Errorf("a sealed value with byte %d changed was opened", i)
		}
	}
	for n := range sealed {
		if _, err := Open("secret/a", sealed[:n], s); err == nil {
			t.Errorf("the first %d of %d bytes were opened", n, len(sealed))
		}
	}
}

func TestSealingTwiceGivesOtherBytes(t *testing.T) {
	s := NewSecret()
	a, errA := s.Seal("secret/a", []byte("same"))
	b, errB := s.Seal("secret/a", []byte("same"))
	if errA != nil || errB != nil || bytes.Equal(a, b) {
		t.Errorf("%x and %x (%v, %v): want different nonces", a, b, errA, errB)
	}
}

func TestSealHasAKeyOfItsOwn(t *testing.T) {
	s := NewSecret()
	for _, purpose := range []string{"piswarm gossip key v1", "piswarm node api ca v1"} {
		if bytes.Equal(s.derive("piswarm secret at rest v1", 32), s.derive(purpose, 32)) {
			t.Errorf("values are sealed with the key of %s", purpose)
		}
	}
}

// FuzzOpen holds that no bytes open but those that Seal made, and that no error repeats what was in them.
func FuzzOpen(f *testing.F) {
	s, err := ParseToken("PSWM-1-" + fixedSecret.ClusterID() + "-" + strings.Repeat("a", 52))
	if err != nil {
		f.Fatal(err)
	}
	good, err := s.Seal("secret/a", []byte("value"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("secret/a", good)
	f.Add("secret/b", good)
	f.Add("secret/a", good[:SealOverhead])
	f.Add("", []byte{sealVersion})
	f.Add("x", []byte(nil))
	f.Fuzz(func(t *testing.T, name string, sealed []byte) {
		plain, err := Open(name, sealed, fixedSecret)
		if err == nil && !(name == "secret/a" && bytes.Equal(plain, []byte("value"))) {
			t.Fatalf("%q opened as %q", sealed, plain)
		}
	})
}

// fixedSecret is the one of 32 zero bytes, so that a corpus that was kept means the same again.
var fixedSecret Secret
