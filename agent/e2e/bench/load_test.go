package main

import (
	"errors"
	"testing"
)

const wrkSays = `Running 2s test @ http://pi1:9000/
  1 threads and 8 connections
  10452 requests in 2.00s, 1.73MB read
  Socket errors: connect 0, read 3, write 0, timeout 0
Requests/sec:   5224.55
`

const abSays = `Complete requests:      1000
Failed requests:        0
Requests per second:    4123.50 [#/sec] (mean)
`

// The figures are taken from what the programs say, and what went wrong is not passed over.
func TestLoadReadsWhatTheProgramsSay(t *testing.T) {
	for _, test := range []struct {
		load
		says           string
		rate, requests float64
		trouble        string
	}{
		{newEach, wrkSays, 5224.55, 10452, "Socket errors: connect 0, read 3, write 0, timeout 0"},
		{classic, abSays, 4123.5, 1000, ""},
	} {
		got, err := test.measure(func(argv ...string) (string, error) {
			if argv[len(argv)-1] != "http://pi1:9000/" {
				t.Errorf("it ran %q", argv)
			}
			return test.says, nil
		}, "http://pi1:9000/")
		if err != nil || got.rate != test.rate || got.requests != test.requests || got.trouble != test.trouble || got.cpu < 0 {
			t.Errorf("%s: %+v, %v", test.name, got, err)
		}
	}
	if _, err := classic.measure(func(...string) (string, error) { return wrkSays, nil }, ""); err == nil {
		t.Error("no error for a program that says no rate")
	}
	broken := errors.New("broken")
	if _, err := classic.measure(func(...string) (string, error) { return "", broken }, ""); !errors.Is(err, broken) {
		t.Errorf("error %v, want that of the program", err)
	}
}

func TestParseLost(t *testing.T) {
	const head = "entries  found new drop early_drop insert_failed\n"
	got, err := parseLost(head + "0000000a  00000001 00000002 00000003 00000004 0000000f\n0000000a  0 0 00000010 0 0\n")
	if err != nil || got != 3+4+15+16 {
		t.Errorf("%g, %v, want 38", got, err)
	}
	for _, text := range []string{"", head, "entries drop\n1 2\n", head + "x x x x x x\n"} {
		if got, err := parseLost(text); err == nil {
			t.Errorf("%q: %g, and no error", text, got)
		}
	}
}
