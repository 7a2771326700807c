package agent

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/state"
)

// safe is a vault over a store, with the cluster's secrets of the moment and the keys that it wrote.
type safe struct {
	*vault
	secrets []trust.Secret
	written []string
}

func newSafe(t *testing.T, secrets ...trust.Secret) *safe {
	t.Helper()
	store, err := state.New("a", state.Snapshot{})
	if err != nil {
		t.Fatal(err)
	}
	s := &safe{secrets: secrets}
	s.vault = &vault{
		store: store, secrets: func() []trust.Secret { return s.secrets },
		write: func(_ context.Context, key string) error {
			s.written = append(s.written, key)
			return nil
		},
	}
	return s
}

// put seals a secret with the first of the cluster's secrets.
func (s *safe) put(t *testing.T, name, value string) {
	t.Helper()
	key := cluster.SecretKey(name)
	sealed, err := s.seal(key, []byte(value))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(cluster.Secret{Head: cluster.Head{ID: name + "-id", Name: name, Labels: map[string]string{"a": "b"}}, Sealed: sealed})
	if err == nil {
		_, err = s.store.Put(key, raw)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// get reads it back, with the head that it has.
func (s *safe) get(t *testing.T, name string) (cluster.Head, string) {
	t.Helper()
	record, ok := s.store.Get(cluster.SecretKey(name))
	if !ok {
		t.Fatalf("secret %s is gone", name)
	}
	var secret cluster.Secret
	if err := json.Unmarshal(record.Value, &secret); err != nil {
		t.Fatal(err)
	}
	plain, err := s.open(record.Key, secret.Sealed)
	if err != nil {
		t.Fatal(err)
	}
	return secret.Head, string(plain)
}

func TestResealMovesSecretsToTheNewKey(t *testing.T) {
	before, now := trust.NewSecret(), trust.NewSecret()
	s := newSafe(t, before)
	s.put(t, "db", "hush")
	s.put(t, "mail", "shh")
	s.secrets = []trust.Secret{now, before}
	s.put(t, "new", "sealed with the new one already")
	for range 2 { // the second time there is nothing left to do
		if err := s.reseal(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(s.written, " "); got != "secret/db secret/mail" {
		t.Errorf("wrote %s", got)
	}
	s.secrets = []trust.Secret{now}
	for name, value := range map[string]string{"db": "hush", "mail": "shh", "new": "sealed with the new one already"} {
		if head, got := s.get(t, name); got != value || head.ID != name+"-id" || head.Labels["a"] != "b" {
			t.Errorf("secret %s: %q, %+v", name, got, head)
		}
	}
}

// One that cannot be opened stays for whoever has its key, is named, and does not keep the others from their new key.
func TestResealLeavesWhatItCannotOpen(t *testing.T) {
	lost, before, now := trust.NewSecret(), trust.NewSecret(), trust.NewSecret()
	s := newSafe(t, lost)
	s.put(t, "a", "of long ago")
	s.secrets = []trust.Secret{before}
	s.put(t, "b", "hush")
	s.secrets = []trust.Secret{now, before}
	err := s.reseal(t.Context())
	if err == nil || !strings.Contains(err.Error(), "secret/a") || strings.Contains(err.Error(), "secret/b") {
		t.Errorf("error %v, want one about a alone", err)
	}
	s.secrets = []trust.Secret{lost, now}
	if _, got := s.get(t, "a"); got != "of long ago" {
		t.Errorf("a is %q", got)
	}
	if _, got := s.get(t, "b"); got != "hush" {
		t.Errorf("b is %q", got)
	}
}

// Someone else's change in the middle is not undone.
func TestResealYieldsToOthers(t *testing.T) {
	before, now := trust.NewSecret(), trust.NewSecret()
	s := newSafe(t, before)
	s.put(t, "db", "hush")
	asked := 0
	s.vault.secrets = func() []trust.Secret {
		// The node seals with the new secret as it always would; between look and write, the record goes.
		if asked++; asked == 3 {
			if _, _, err := s.store.Delete(cluster.SecretKey("db")); err != nil {
				t.Fatal(err)
			}
		}
		return []trust.Secret{now, before}
	}
	if err := s.reseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := s.store.Get(cluster.SecretKey("db")); ok || len(s.written) > 0 {
		t.Errorf("a secret that was removed meanwhile is back, or was written: %v", s.written)
	}
}
