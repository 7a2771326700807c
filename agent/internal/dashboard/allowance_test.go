package dashboard

import (
	"testing"
	"time"
)

// TestAllowance: after a quiet time one may look often, and in the long run for one part in two hundred.
func TestAllowance(t *testing.T) {
	for _, test := range []struct {
		took    time.Duration
		often   int // so many looks in a row have the shortest pause
		longRun time.Duration
	}{
		{500 * time.Microsecond, 1000, minPause}, // it never has to save
		{10 * time.Millisecond, 9, 1990 * time.Millisecond},
		{40 * time.Millisecond, 2, maxPause}, // more than its part: the page stays alive
	} {
		now := time.Unix(0, 0)
		a := newAllowance(now)
		look := func() time.Duration {
			now = now.Add(test.took)
			pause := a.pause(now, test.took)
			now = now.Add(pause)
			return pause
		}
		for i := range test.often {
			if got := look(); got != minPause {
				t.Errorf("looks of %s: pause %d is %s", test.took, i, got)
			}
		}
		var last time.Duration
		for range 1000 {
			last = look()
		}
		if last != test.longRun {
			t.Errorf("looks of %s: in the long run, pauses of %s, want %s", test.took, last, test.longRun)
		}
		now = now.Add(time.Hour)
		if got := look(); got != minPause {
			t.Errorf("looks of %s: after an hour, a pause of %s", test.took, got)
		}
	}
}
