package doctor

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMonitorIsCalm(t *testing.T) {
	p := readPatient(t, "healthy.txt")
	machine := p.bed(t)
	synctest.Test(t, func(t *testing.T) {
		free, looks := uint64(1000), 0
		machine.Space = func(string) (uint64, uint64, error) {
			looks++
			return free << 20, 8000 << 20, nil
		}
		m := NewMonitor(machine)
		expect := func(what string, want ...string) {
			t.Helper()
			got := m.Warnings()
			if len(got) != len(want) || len(want) == 1 && !strings.HasPrefix(got[0], want[0]) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		expect("at the start")
		free = 10
		expect("before the next look")
		for range 100 {
			m.Warnings()
		}
		if looks != 1 {
			t.Errorf("it looked %d times at once", looks)
		}
		time.Sleep(time.Minute)
		expect("a minute later", "the disk is nearly full: no image can be fetched: remove images")
		before := m.Warnings()
		free = 11
		time.Sleep(time.Minute)
		if got := m.Warnings(); !slices.Equal(got, before) {
			t.Errorf("another figure makes another warning: %q, before %q", got, before)
		}
		free = 1000
		time.Sleep(9 * time.Minute)
		expect("away for a while", before[0])
		free = 10
		time.Sleep(time.Minute)
		expect("it is back", before[0])
		free = 1000
		time.Sleep(9 * time.Minute)
		expect("away for a while again", before[0])
		time.Sleep(time.Minute)
		expect("away for long")
	})
}

// What a node warns of all day must cost it nothing.
func BenchmarkWarnings(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("some files are root's alone")
	}
	m := NewMonitor(This())
	for b.Loop() {
		m.looked = time.Time{}
		m.Warnings()
	}
}
