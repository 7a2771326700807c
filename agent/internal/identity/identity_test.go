package identity

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/agent/internal/trust"
)

func TestNodeKeepsItsIdentity(t *testing.T) {
	dir := Dir(filepath.Join(t.TempDir(), "new"))
	first, err := dir.Node()
	if err != nil || len(first.ID) != 16 {
		t.Fatalf("Node() = %+v, %v", first, err)
	}
	first.Subnet = 17
	if err := dir.SaveNode(first); err != nil {
		t.Fatal(err)
	}
	if again, err := dir.Node(); err != nil || again != first {
		t.Errorf("after a restart: %+v, %v; want %+v", again, err, first)
	}
	if other, err := Dir(t.TempDir()).Node(); err != nil || other.ID == first.ID {
		t.Errorf("two nodes on one machine share the ID %s (%v)", other.ID, err)
	}
	if err := os.WriteFile(dir.path(nodeFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := dir.Node(); err == nil {
		t.Errorf("a broken file gave %+v: the node would lose its ID without a word", n)
	}
}

func TestCardInAnotherPi(t *testing.T) {
	dir := Dir(t.TempDir())
	first, err := dir.Node()
	if err != nil || first.Elsewhere() {
		t.Fatalf("the node's own identity %+v counts as another machine's (%v)", first, err)
	}
	copied := Node{ID: newID("another Pi's serial number"), Subnet: 3}
	if !copied.Elsewhere() {
		t.Errorf("the identity %s of other hardware passes for this one's", copied.ID)
	}
	if err := dir.SaveNode(copied); err != nil {
		t.Fatal(err)
	}
	renewed, err := dir.NewNode()
	if err != nil || renewed.Elsewhere() || renewed.ID == first.ID || renewed.Subnet != 0 {
		t.Errorf("NewNode() = %+v, %v", renewed, err)
	}
	if kept, err := dir.Node(); err != nil || kept != renewed {
		t.Errorf("on disk: %+v, %v; want %+v", kept, err, renewed)
	}
}

func TestHardwareThatDoesNotSayWhatItIs(t *testing.T) {
	root := t.TempDir()
	serial := filepath.Join(root, "sys/firmware/devicetree/base/serial-number")
	id := filepath.Join(root, "etc/machine-id")
	for _, dir := range []string{filepath.Dir(serial), filepath.Dir(id)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	n := Node{ID: newID("00000000abcd1234")}
	if n.elsewhere(root) {
		t.Error("a machine that says nothing counts as another one")
	}
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(id, "0123456789abcdef0123456789abcdef\n")
	if !n.elsewhere(root) {
		t.Error("a PC passes for the Pi")
	}
	write(serial, "00000000abcd1234\x00")
	if n.elsewhere(root) {
		t.Error("its own Pi counts as another one")
	}
	write(serial, "00000000ffff0000\x00")
	if !n.elsewhere(root) {
		t.Error("another Pi passes for its own")
	}
	if err := os.Remove(serial); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(serial, 0o755); err != nil { // what is there and cannot be read
		t.Fatal(err)
	}
	if n.elsewhere(root) {
		t.Error("a Pi whose serial number could not be read counts as another one")
	}
}

func TestMembershipIsKeptAndForgotten(t *testing.T) {
	dir := Dir(t.TempDir())
	if _, ok, err := dir.Membership(); ok || err != nil {
		t.Fatalf("a new node is a member: %v, %v", ok, err)
	}
	moving, err := trust.Keyring{Primary: trust.NewSecret()}.Install(trust.NewSecret())
	if err != nil {
		t.Fatal(err)
	}
	moved, err := moving.Use(moving.Other)
	if err != nil {
		t.Fatal(err)
	}
	for _, keys := range []trust.Keyring{{Primary: moving.Primary}, moving, moved} {
		want := Membership{Keys: keys, Name: "home", Pool: "10.77.0.0/16", Former: []string{"abcdefgh"}}
		if err := dir.SaveMembership(want); err != nil {
			t.Fatal(err)
		}
		if got, ok, err := dir.Membership(); !ok || err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Membership() = %+v, %v, %v; want %+v", got, ok, err, want)
		}
	}
	info, err := os.Stat(dir.path(clusterFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the secret's file: %v, %v; want mode 0600", info.Mode(), err)
	}
	for range 2 {
		if err := dir.ForgetMembership(); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok, _ := dir.Membership(); ok {
		t.Error("still a member after leaving")
	}
}

func TestMembershipRemembersFormerSecrets(t *testing.T) {
	a, b, c := trust.NewSecret(), trust.NewSecret(), trust.NewSecret()
	m := Membership{Keys: trust.Keyring{Primary: a}}
	for _, step := range []struct {
		keys trust.Keyring
		was  string
	}{
		{trust.Keyring{Primary: a, Other: b, Coming: true}, ""},
		{trust.Keyring{Primary: a, Other: c, Coming: true}, ""}, // b was never gone by
		{trust.Keyring{Primary: c, Other: a}, ""},
		{trust.Keyring{Primary: c}, a.ClusterID()},
		{trust.Keyring{Primary: b}, a.ClusterID() + " " + c.ClusterID()},
	} {
		m = m.With(step.keys)
		if got := strings.Join(m.Former, " "); got != step.was {
			t.Errorf("formerly %q, want %q", got, step.was)
		}
	}
	if !m.Was(a) || m.Was(b) {
		t.Error("a former secret is not known as one, or the present one is")
	}
	for range 100 {
		m = m.With(trust.Keyring{Primary: trust.NewSecret()})
	}
	if len(m.Former) != maxFormer || m.Was(a) {
		t.Errorf("remembers %d", len(m.Former))
	}
}
