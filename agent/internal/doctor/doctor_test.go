package doctor

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the findings into testdata")

// patient is a Pi Zero as a text file describes it: "-- path --" begins a file, "-- path -> target --" is a symbolic
// link, and what follows "-- machine --" is how everything behaves that is no file. The last part is what was found.
type patient struct {
	head     string // of the file, up to the findings
	files    map[string]string
	links    map[string]string
	machine  map[string]string
	findings string
}

func readPatient(t *testing.T, name string) patient {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	p := patient{files: map[string]string{}, links: map[string]string{}, machine: map[string]string{}}
	part := ""
	for line := range strings.Lines(string(raw)) {
		if title, ok := strings.CutPrefix(strings.TrimSuffix(line, " --\n"), "-- "); ok {
			part = title
			if path, target, ok := strings.Cut(title, " -> "); ok {
				p.links[path] = target
			} else if part != "findings" && part != "machine" {
				p.files[part] = ""
			}
		} else if part == "machine" {
			key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			p.machine[key] = value
		} else if part == "findings" {
			p.findings += line
		} else if part != "" {
			p.files[part] += line
		}
		if part != "findings" {
			p.head += line
		}
	}
	return p
}

// on lays a patient over another one. A file that holds only "(none)" is taken away.
func (p patient) on(base patient) patient {
	for _, m := range []struct{ over, under map[string]string }{{p.files, base.files}, {p.links, base.links}, {p.machine, base.machine}} {
		maps.Copy(m.under, m.over)
	}
	p.files, p.links, p.machine = base.files, base.links, base.machine
	maps.DeleteFunc(p.files, func(_, text string) bool { return text == "(none)\n" })
	return p
}

// bed puts the patient's files on the disk.
func (p patient) bed(t *testing.T) Machine {
	t.Helper()
	root := t.TempDir()
	place := func(name string) string {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, text := range p.files {
		if err := os.WriteFile(place(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range p.links {
		if err := os.Symlink(target, place(name)); err != nil {
			t.Fatal(err)
		}
	}
	fault := func(key string) error {
		if text := p.machine[key]; text != "" {
			return errors.New(text)
		}
		return nil
	}
	return Machine{
		Root: root, Privileged: p.machine["user"] != "pi",
		Now: func() time.Time {
			now, err := time.Parse("2006-01-02", p.machine["date"])
			if err != nil {
				t.Fatal(err)
			}
			return now
		},
		Synchronised: func() bool { return p.machine["ntp"] == "yes" },
		Containerd:   func(context.Context) (string, error) { return "1.7.24", fault("containerd") },
		JoinMDNS:     func(string) error { return fault("mdns") },
		PowerSave:    func(string) (bool, error) { return p.machine["powersave"] == "on", fault("nl80211") },
		Space: func(string) (free, size uint64, err error) {
			_, err = fmt.Sscan(p.machine["space"], &free, &size)
			return free << 20, size << 20, err
		},
		Run: func(_ context.Context, name string, args ...string) (string, error) {
			line := strings.Join(append([]string{name}, args...), " ")
			if lacks := p.machine["iptables-lacks"]; lacks != "" && strings.Contains(line, lacks) {
				return "", errors.New("exit status 2: " + lacks + ": no such module")
			}
			return "iptables v1.8.9 (nf_tables)\n", nil
		},
	}
}

func text(findings []Finding) string {
	var b strings.Builder
	for _, f := range findings {
		switch {
		case f.OK != (f.Problem == "") || f.OK != (f.Fix == ""):
			fmt.Fprintf(&b, "BROKEN %+v\n", f)
		case f.OK:
			fmt.Fprintf(&b, "%s: ok (%s)\n", f.Check, f.Note)
		default:
			fmt.Fprintf(&b, "%s: %s (%s)\n  fix: %s\n", f.Check, f.Problem, f.Note, f.Fix)
		}
	}
	return b.String()
}

// TestPatients examines each Pi of testdata: a healthy one, and others that are like it but for one thing.
func TestPatients(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 2 {
		t.Fatalf("patients: %v, %v", files, err)
	}
	healthy := strings.SplitAfter(readPatient(t, "healthy.txt").findings, "\n")
	for _, file := range files {
		name := filepath.Base(file)
		t.Run(strings.TrimSuffix(name, ".txt"), func(t *testing.T) {
			p := readPatient(t, name)
			if name != "healthy.txt" {
				p = p.on(readPatient(t, "healthy.txt"))
			}
			got := text(Examine(t.Context(), p.bed(t)))
			if name != "healthy.txt" { // only what differs
				lines := slices.DeleteFunc(strings.SplitAfter(got, "\n"), func(line string) bool { return slices.Contains(healthy, line) })
				got = strings.Join(lines, "")
			}
			if *update {
				if err := os.WriteFile(file, []byte(p.head+"-- findings --\n"+got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != p.findings {
				t.Errorf("run with -update and see the difference. got:\n%swant:\n%s", got, p.findings)
			}
		})
	}
}

// The machine that the test runs on is examined for real, and left as it was.
func TestExamineThisMachine(t *testing.T) {
	m := This()
	// Of the host's packet filter nothing is touched here; TestIptables tries a real one.
	m.Run = func(context.Context, string, ...string) (string, error) { return "iptables v0", nil }
	m.JoinMDNS = func(string) error { return nil }
	found := Examine(t.Context(), m)
	t.Log("\n" + text(found))
	if len(found) != len(checks) || strings.Contains(text(found), "BROKEN") {
		t.Error("not everything was looked at")
	}
}
