package snapshot

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/pkg/state"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// contents makes contents that differ for each n.
func contents(t testing.TB, n int) Contents {
	t.Helper()
	s, err := state.New("pi1", state.Snapshot{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := s.Put(fmt.Sprintf("service/s%d", i), []byte(`{"replicas":1}`)); err != nil {
			t.Fatal(err)
		}
	}
	// The decoded form, which compares equal to what a file gives back.
	snap, err := state.DecodeSnapshot(s.Snapshot().Encode())
	if err != nil {
		t.Fatal(err)
	}
	return Contents{State: snap, Peers: []string{"192.168.1.20:7946", "[fe80::1]:7946"}}
}

func open(t *testing.T, dir string) (*File, Contents) {
	t.Helper()
	f, c, err := Open(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return f, c
}

func save(t *testing.T, f *File, c Contents) {
	t.Helper()
	if err := f.Save(c); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func mustEqual(t *testing.T, got, want Contents) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v\nwant %+v", got, want)
	}
}

func TestSaveAndOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "state")
	f, c := open(t, dir)
	mustEqual(t, c, Contents{})
	save(t, f, contents(t, 3))
	_, c = open(t, dir)
	mustEqual(t, c, contents(t, 3))
	info, err := os.Stat(filepath.Join(dir, fileName))
	if err != nil || info.Mode() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
}

func TestEqualContentsAreNotWrittenAgain(t *testing.T) {
	dir := t.TempDir()
	f, _ := open(t, dir)
	stat := func() fs.FileInfo {
		info, err := os.Stat(filepath.Join(dir, fileName))
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	save(t, f, contents(t, 3))
	before := stat()
	save(t, f, contents(t, 3))
	if f.Writes() != 1 || !os.SameFile(before, stat()) {
		t.Fatalf("%d writes", f.Writes())
	}
	// Neither after a restart.
	f, c := open(t, dir)
	save(t, f, c)
	if f.Writes() != 0 || !os.SameFile(before, stat()) {
		t.Fatalf("%d writes after a restart", f.Writes())
	}
	c.Peers = append(c.Peers, "192.168.1.21:7946")
	save(t, f, c)
	if f.Writes() != 1 || os.SameFile(before, stat()) {
		t.Fatalf("%d writes after a change", f.Writes())
	}
}

func TestPreviousCopyStandsIn(t *testing.T) {
	dir := t.TempDir()
	f, _ := open(t, dir)
	save(t, f, contents(t, 1))
	save(t, f, contents(t, 2))
	if err := os.WriteFile(filepath.Join(dir, fileName), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	f, c, err := Open(dir, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	want := contents(t, 1)
	want.State.Clock += clockMargin // Above all that the lost file may have given out.
	mustEqual(t, c, want)
	if got := names(t, dir); !slices.Equal(got, []string{"state.corrupt-1", "state.prev"}) {
		t.Fatalf("in the directory: %v", got)
	}
	for _, part := range []string{"level=ERROR", "state.corrupt-1", "level=WARN", "state.prev"} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log lacks %s: %s", part, &log)
		}
	}
	// What was read is not what the file holds, so it is written, and the only good copy stays meanwhile.
	save(t, f, c)
	_, again := open(t, dir)
	mustEqual(t, again, want)
	if got := names(t, dir); !slices.Equal(got, []string{"state", "state.corrupt-1", "state.prev"}) {
		t.Fatalf("in the directory: %v", got)
	}
}

func TestFewCorruptFilesAreKept(t *testing.T) {
	dir := t.TempDir()
	for i := range 12 {
		text := fmt.Sprintf("rubbish %d", i)
		if err := os.WriteFile(filepath.Join(dir, fileName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, c := open(t, dir)
		mustEqual(t, c, Contents{})
	}
	want := []string{"state.corrupt-10", "state.corrupt-11", "state.corrupt-12"}
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Fatalf("in the directory: %v", got)
	}
	if last, _ := os.ReadFile(filepath.Join(dir, want[2])); string(last) != "rubbish 11" {
		t.Fatalf("the newest is %q", last)
	}
}

// However a power cut or a bad card leaves the file, the node comes up with the previous copy.
func TestEveryCutAndEveryFlip(t *testing.T) {
	dir := t.TempDir()
	f, _ := open(t, dir)
	save(t, f, contents(t, 1))
	save(t, f, contents(t, 2))
	path := filepath.Join(dir, fileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := contents(t, 1)
	want.State.Clock += clockMargin
	check := func(what string, raw []byte) {
		t.Helper()
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		_, got, err := Open(dir, quiet)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: got %+v", what, got)
		}
	}
	for n := range whole {
		check(fmt.Sprintf("cut at %d", n), whole[:n])
		for bit := range 8 {
			bad := slices.Clone(whole)
			bad[n] ^= 1 << bit
			check(fmt.Sprintf("bit %d of byte %d", bit, n), bad)
		}
	}
	check("a byte more", append(slices.Clone(whole), 0))
	if got := names(t, dir); len(got) != 1+keepCorrupt {
		t.Fatalf("in the directory: %v", got)
	}
	// With the previous copy gone too, it comes up empty.
	for _, name := range []string{fileName, fileName + prevSuffix} {
		if err := os.WriteFile(filepath.Join(dir, name), whole[:20], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, got := open(t, dir)
	mustEqual(t, got, Contents{})
}

// The checksum keeps bad bytes from the parser; here the parser meets them.
func FuzzDecode(f *testing.F) {
	raw, err := encode(contents(f, 2))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw[len(header)+32:])
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := decode(seal(body))
		if err != nil {
			return
		}
		again, err := encode(c)
		if err != nil || !bytes.Equal(again, seal(body)) {
			t.Fatalf("%x\nencodes to\n%x, %v", seal(body), again, err)
		}
	})
}

func TestUnusableDirectoryIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(path, quiet); err == nil {
		t.Fatal("a file passes for a directory")
	}
}
