package images

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestScripts has each script read by the shell that will run it, and sees that it may be run.
func TestScripts(t *testing.T) {
	found := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		script := strings.HasPrefix(read(t, path), "#!")
		if !script && filepath.Ext(path) != ".sh" && filepath.Dir(path) != "boards" {
			return nil
		}
		found++
		if out, err := exec.CommandContext(t.Context(), "sh", "-n", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", path, err, out)
		}
		info, err := d.Info()
		if err == nil && script && info.Mode()&0o111 != 0o111 {
			t.Errorf("%s is no program: mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil || found < 8 {
		t.Fatalf("%d scripts, %v", found, err)
	}
}

// TestUnits has systemd read the units as they will lie on the card, each of which is switched on.
func TestUnits(t *testing.T) {
	card := t.TempDir()
	if err := os.CopyFS(card, os.DirFS("root")); err != nil {
		t.Fatal(err)
	}
	put := func(path, content string, mode os.FileMode) {
		full := filepath.Join(card, path)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, unit := range []string{"piswarm.service", "piswarm-boot.service"} {
		put("etc/systemd/system/"+unit, read(t, "../systemd/"+unit), 0o644)
	}
	for _, program := range []string{"/usr/bin/piswarm", "/bin/rm", "/bin/sync", "/usr/bin/ssh-keygen", "/bin/sh"} {
		put(program, "", 0o755)
	}
	units, err := filepath.Glob(filepath.Join(card, "etc/systemd/system/*.service"))
	timers, _ := filepath.Glob(filepath.Join(card, "etc/systemd/system/*.timer")) // of a good pattern there is no error
	if units = append(units, timers...); err != nil || len(units) < 6 {
		t.Fatalf("units %v, %v", units, err)
	}
	enabled := strings.Fields(strings.ReplaceAll(regexp.MustCompile(`(?s)systemctl --quiet enable (.*?[^\\])\n`).FindStringSubmatch(read(t, "customize.sh"))[1], "\\\n", " "))
	for _, unit := range units {
		name := filepath.Base(unit)
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--root="+card, "--man=no", "--recursive-errors=no", name).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v (on Debian: apt install systemd)\n%s", name, err, out)
		}
		if !slices.Contains(enabled, strings.TrimSuffix(name, ".service")) {
			t.Errorf("%s is never switched on: customize.sh enables %v", name, enabled)
		}
	}
}

// TestBoards holds that each board says all that build.sh asks of it.
func TestBoards(t *testing.T) {
	boards, err := os.ReadDir("boards")
	if err != nil || len(boards) != 3 {
		t.Fatalf("boards %v, %v", boards, err)
	}
	for _, b := range boards {
		out, err := exec.CommandContext(t.Context(), "sh", "-euc", `. "./boards/$0"; : "$arch" "$goarch" "$goarm" "$kernel" "$devices"; printf '[%s]' "$tags"`, b.Name()).CombinedOutput()
		if err != nil || !regexp.MustCompile(`^\[("pi[0-9]-[0-9]{2}bit"(, )?)+\]$`).Match(out) {
			t.Errorf("board %s: %v: %s", b.Name(), err, out)
		}
	}
}
