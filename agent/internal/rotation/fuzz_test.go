package rotation

import (
	"encoding/json"
	"testing"

	"github.com/piswarm/piswarm/agent/internal/trust"
)

// FuzzStep has a node take whatever step: it goes by a secret that it had, or was given by a step before, and by no third.
func FuzzStep(f *testing.F) {
	a, b := trust.NewSecret(), trust.NewSecret()
	for _, step := range []Step{
		{Do: Hold}, {Do: Install, Token: b.Token()}, {Do: Use, Cluster: b.ClusterID()}, {Do: Finish, Cluster: b.ClusterID()},
		{Do: Drop, Cluster: a.ClusterID()}, {Do: Release},
	} {
		raw, err := json.Marshal(step)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var step Step
		if json.Unmarshal(raw, &step) != nil {
			return
		}
		given, _ := trust.ParseToken(step.Token)
		for _, before := range []trust.Keyring{{Primary: a}, {Primary: a, Other: b, Coming: true}, {Primary: b, Other: a}} {
			k := before
			r := Receiver{Ready: func(string) bool { return true }, Change: func(turn func(trust.Keyring) (trust.Keyring, error)) (trust.Keyring, error) {
				next, err := turn(k)
				if err == nil {
					k = next
				}
				return k, err
			}}
			if _, err := r.Take("driver", Step{Do: Hold}); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Take("driver", step); err != nil && k != before {
				t.Errorf("%+v: refused, and yet something changed", step)
			}
			for _, s := range k.Secrets() {
				if s.IsZero() || !before.Accepts(s) && !(step.Do == Install && s.Equal(given)) {
					t.Errorf("%+v: a secret from nowhere", step)
				}
			}
			if !before.Accepts(k.Primary) {
				t.Errorf("%+v: goes by what it did not accept before", step)
			}
		}
	})
}
