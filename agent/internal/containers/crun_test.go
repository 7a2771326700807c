package containers

import (
	"os/exec"
	"testing"
)

func TestCrunWhereItWorks(t *testing.T) {
	has := func(name string) (string, error) { return "/usr/bin/" + name, nil }
	lacks := func(name string) (string, error) { return "", &exec.Error{Name: name, Err: exec.ErrNotFound} }
	for _, test := range []struct {
		what    string
		cgroups cgroupFacts
		look    func(string) (string, error)
		want    string
	}{
		{"version 2, and crun", cgroupFacts{v2: true}, has, "/usr/bin/crun"},
		{"version 2, without crun", cgroupFacts{v2: true}, lacks, ""},
		{"version 1 or both", cgroupFacts{}, has, ""},
	} {
		if got := runtimeOptions(test.cgroups, test.look).BinaryName; got != test.want {
			t.Errorf("%s: %q, want %q", test.what, got, test.want)
		}
	}
}
