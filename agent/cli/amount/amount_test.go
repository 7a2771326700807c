package amount

import (
	"testing"
)

// FuzzAmounts are the values of --limit-memory, --limit-cpu and their like.
func FuzzAmounts(f *testing.F) {
	for _, s := range []string{"64m", "1g", "0.5", "1e-9", "1e9999999", "0x1p-2", "-1", "1_000", "1/3", "9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := Memory(s); err == nil && n <= 0 {
			t.Errorf("%q bytes of memory are %d", s, n)
		}
		if n, err := CPUs(s); err == nil && n <= 0 {
			t.Errorf("%q cores are %d billionths", s, n)
		}
	})
}
