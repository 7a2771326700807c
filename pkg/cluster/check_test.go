package cluster

import (
	"strings"
	"testing"
)

// checkError holds what every refusal must be: there, one line, bounded however long the input was (quoting
// makes four characters of a byte that is no text), and with the words that say what is wrong.
func checkError(t *testing.T, err error, words string) {
	t.Helper()
	if err == nil {
		t.Fatalf("accepted, want an error with %q", words)
	}
	if s := err.Error(); strings.ContainsAny(s, "\r\n") || len(s) > 900 {
		t.Errorf("not one readable line: %q", s)
	}
	if !strings.Contains(err.Error(), words) {
		t.Errorf("%q does not say %q", err, words)
	}
}
