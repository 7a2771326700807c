package trust

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
	"unsafe"
)

func TestTokenCarriesTheSecret(t *testing.T) {
	s := NewSecret()
	token := s.Token()
	if !strings.HasPrefix(token, "PSWM-1-"+s.ClusterID()+"-") {
		t.Fatalf("token %q does not begin with the cluster ID", token)
	}
	for _, text := range []string{token, " " + token + "\n", strings.ToUpper(token)} {
		got, err := ParseToken(text)
		if err != nil || !got.Equal(s) {
			t.Errorf("ParseToken(%q) = %v, want the secret", text, err)
		}
	}
}

func TestParseTokenRefusesEveryChangedCharacter(t *testing.T) {
	token := NewSecret().Token()
	for i := range token {
		changed := []byte(token)
		if changed[i] == '2' {
			changed[i] = '3'
		} else {
			changed[i] = '2'
		}
		_, err := ParseToken(string(changed))
		if err == nil {
			t.Fatalf("a token with character %d changed was taken", i)
		}
		if strings.Contains(err.Error(), token[20:30]) {
			t.Fatalf("the error repeats the token: %v", err)
		}
	}
	for _, bad := range []string{"", "PSWM-1-", "PSWM-1-abc", "SWMTKN-1-x-y", strings.Repeat("a", 10_000), token + "aa"} {
		if _, err := ParseToken(bad); err == nil {
			t.Errorf("ParseToken(%.30q) was taken", bad)
		}
	}
}

func TestSecretNeverPrints(t *testing.T) {
	s := NewSecret()
	text := fmt.Sprintf("%v %s %+v %#v", s, s, s, s)
	if text != "[secret] [secret] [secret] [secret]" {
		t.Errorf("a secret printed itself: %s", text)
	}
}

// TestSecretIsInNoTrace of a crash: that shows the words of which arguments are made.
func TestSecretIsInNoTrace(t *testing.T) {
	s := NewSecret()
	k := Keyring{Primary: s, Other: NewSecret()}
	words := unsafe.Slice((*byte)(unsafe.Pointer(&k)), unsafe.Sizeof(k))
	if raw := s.raw(); bytes.Contains(words, raw[:4]) {
		t.Error("a keyring that is passed on carries its secrets")
	}
	if again, err := ParseToken(s.Token()); err != nil || again != s || again == k.Other {
		t.Error("the same secret compares as another, or another as the same")
	}
}

func TestKeysDifferByPurpose(t *testing.T) {
	s := NewSecret()
	if string(s.GossipKey()) == string(s.derive("piswarm node api ca v1", 32)) {
		t.Error("two purposes share a key")
	}
	again, err := ParseToken(s.Token())
	if err != nil || string(s.GossipKey()) != string(again.GossipKey()) || len(s.GossipKey()) != 32 {
		t.Error("the gossip key is not a stable AES-256 key")
	}
}

// handshake connects client to server over loopback and returns whom the server saw and what either side says.
func handshake(t *testing.T, server, client *tls.Config) (peerSeenByServer string, err error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	type result struct {
		id  string
		err error
	}
	done := make(chan result, 1)
	go func() {
		raw, err := listener.Accept()
		if err != nil {
			done <- result{err: err}
			return
		}
		defer raw.Close()
		raw.SetDeadline(time.Now().Add(5 * time.Second))
		conn := tls.Server(raw, server)
		if err := conn.Handshake(); err != nil {
			done <- result{err: err}
			return
		}
		state := conn.ConnectionState()
		id, err := PeerID(&state)
		conn.Write([]byte("x"))
		done <- result{id, err}
	}()
	raw, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(5 * time.Second))
	conn := tls.Client(raw, client)
	clientErr := conn.Handshake()
	if clientErr == nil {
		_, clientErr = conn.Read(make([]byte, 1)) // TLS 1.3: a refused client learns of it only here
	}
	raw.Close()
	r := <-done
	return r.id, errors.Join(r.err, clientErr)
}

func TestMembersKnowEachOther(t *testing.T) {
	s := NewSecret()
	a, err := NewIdentity(Keyring{Primary: s}, "aaaa")
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewIdentity(Keyring{Primary: s}, "bbbb")
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := NewIdentity(Keyring{Primary: NewSecret()}, "bbbb")
	if err != nil {
		t.Fatal(err)
	}
	if id, err := handshake(t, a.Server(), b.Client("aaaa")); err != nil || id != "bbbb" {
		t.Errorf("member to member: %q, %v", id, err)
	}
	if _, err := handshake(t, a.Server(), b.Client("cccc")); err == nil {
		t.Error("a call meant for node cccc was answered by aaaa")
	}
	if _, err := handshake(t, a.Server(), stranger.Client("aaaa")); err == nil {
		t.Error("a node with another secret connected")
	}
	if _, err := handshake(t, stranger.Server(), a.Client("bbbb")); err == nil {
		t.Error("a member connected to a node with another secret")
	}
	plain := b.Client("aaaa")
	plain.Certificates = nil
	if _, err := handshake(t, a.Server(), plain); err == nil {
		t.Error("a client without a certificate connected")
	}
}
