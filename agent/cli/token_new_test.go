package cli

import (
	"strings"
	"testing"

	"github.com/piswarm/piswarm/agent/internal/trust"
)

// TestTokenNew asks no agent, and says nothing but a token, so that a script can use it.
func TestTokenNew(t *testing.T) {
	made := map[string]bool{}
	for range 3 {
		r := run(t, nil, "", "token", "new")
		token, ok := strings.CutSuffix(r.stdout, "\n")
		if _, err := trust.ParseToken(token); err != nil || !ok || r.code != 0 || r.stderr != "" {
			t.Fatalf("exit %d, %q, %q: %v", r.code, r.stdout, r.stderr, err)
		}
		made[token] = true
	}
	if len(made) != 3 {
		t.Errorf("of three tokens %d differ", len(made))
	}
}
