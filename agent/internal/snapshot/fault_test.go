package snapshot

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

var errPower = errors.New("the power is gone")

// fault makes one step of a save go wrong, and counts the steps.
type fault struct {
	at    int   // the step, counted from 0
	err   error // what it returns
	after bool  // it is done nevertheless
	dead  bool  // neither it nor any later step is done: a power cut
	steps int
}

// fails tells whether the present step is one that goes wrong.
func (f *fault) fails() bool {
	n := f.steps
	f.steps++
	return n == f.at || f.dead && n > f.at
}

// disk is this machine's with the fault in it.
func (f *fault) disk() disk {
	step := func(do func() error) error {
		if !f.fails() {
			return do()
		}
		if f.after && f.steps-1 == f.at {
			return errors.Join(do(), f.err)
		}
		return f.err
	}
	return disk{
		write: func(path string, raw []byte) error {
			if f.fails() { // with as much of it written as may be
				return errors.Join(f.err, os.WriteFile(path, raw[:len(raw)*2/3], 0o600))
			}
			return thisMachine.write(path, raw)
		},
		link:   func(path, also string) error { return step(func() error { return thisMachine.link(path, also) }) },
		rename: func(path, to string) error { return step(func() error { return thisMachine.rename(path, to) }) },
		remove: func(path string) error { return step(func() error { return thisMachine.remove(path) }) },
		sync:   func(dir string) error { return step(func() error { return thisMachine.sync(dir) }) },
	}
}

// The power goes before, in the middle of or after any step of a save. The node then comes up with the former contents
// or the new ones, both whole and under the file's own name, and saves again without a trace of what was cut off.
func TestPowerCutAtEachStep(t *testing.T) {
	first, old, next := contents(t, 1), contents(t, 2), contents(t, 3)
	total := 0
	for _, saves := range []int{0, 1, 2} { // before: no file, a file, a file and its previous copy
		for _, after := range []bool{false, true} {
			for at := 0; ; at++ {
				dir := t.TempDir()
				f, _ := open(t, dir)
				was := Contents{}
				for _, c := range []Contents{first, old}[:saves] {
					save(t, f, c)
					was = c
				}
				cut := &fault{at: at, err: errPower, after: after, dead: true}
				f.disk = cut.disk()
				if err := f.Save(next); err == nil {
					break // there are no more steps
				} else if !errors.Is(err, errPower) {
					t.Fatal(err)
				}
				total++
				f, c := open(t, dir)
				if !reflect.DeepEqual(c, was) && !reflect.DeepEqual(c, next) {
					t.Errorf("%d saves, then cut at step %d (done: %t): found %+v", saves, at, after, c)
				}
				last := contents(t, 4)
				save(t, f, last)
				_, c = open(t, dir)
				mustEqual(t, c, last)
				for _, name := range names(t, dir) {
					if name != fileName && name != fileName+prevSuffix {
						t.Errorf("%d saves, then cut at step %d (done: %t): %s is left", saves, at, after, name)
					}
				}
			}
		}
	}
	if total < 20 {
		t.Errorf("only %d cuts: the steps are not those that a save makes", total)
	}
}

// Any step fails for want of room, or because the card takes no writes any more: the error says what to do, the former
// contents or the new ones are there, and the same save succeeds when the trouble is over.
func TestEachStepMayFail(t *testing.T) {
	old, next := contents(t, 1), contents(t, 2)
	for err, say := range map[error]string{syscall.ENOSPC: "make room", syscall.EROFS: "new one", syscall.EIO: "new one"} {
		for at := 0; ; at++ {
			dir := t.TempDir()
			f, _ := open(t, dir)
			save(t, f, old)
			f.disk = (&fault{at: at, err: err}).disk()
			got := f.Save(next)
			if got == nil {
				if at < 4 {
					t.Errorf("no step %d", at)
				}
				break
			}
			if !errors.Is(got, err) || !strings.Contains(got.Error(), say) {
				t.Errorf("step %d: %v", at, got)
			}
			if _, c := open(t, dir); !reflect.DeepEqual(c, old) && !reflect.DeepEqual(c, next) {
				t.Errorf("%v at step %d: found %+v", err, at, c)
			}
			f.disk = thisMachine
			save(t, f, next)
			_, c := open(t, dir)
			mustEqual(t, c, next)
			if got := names(t, dir); !slices.Equal(got, []string{"state", "state.prev"}) {
				t.Errorf("%v at step %d: in the directory: %v", err, at, got)
			}
		}
	}
}

// The previous copy alone is left, and it is damaged, too: the node comes up empty, and never with the damage.
func TestDamagedPreviousCopy(t *testing.T) {
	dir := t.TempDir()
	f, _ := open(t, dir)
	save(t, f, contents(t, 1))
	path := filepath.Join(dir, fileName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	check := func(raw []byte) {
		t.Helper()
		if err := os.WriteFile(path+prevSuffix, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		_, c := open(t, dir)
		mustEqual(t, c, Contents{})
	}
	for n := range whole {
		check(whole[:n])
		bad := slices.Clone(whole)
		bad[n]++
		check(bad)
	}
}

// A real full disk: a small tmpfs, mounted where only this thread sees it.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("mounting needs root")
	}
	dir := t.TempDir()
	runtime.LockOSThread() // Never unlocked: the thread ends with the test, and its mounts with it.
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		t.Fatalf("no mount namespace here: %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	f, _ := open(t, dir)
	old := contents(t, 2)
	save(t, f, old)
	large := contents(t, 5000)
	err := f.Save(large)
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), filepath.Join(dir, fileName)) ||
		!strings.Contains(err.Error(), "make room") {
		t.Fatalf("save on a full disk: %v", err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{"state"}) {
		t.Fatalf("in the directory: %v", got)
	}
	_, c := open(t, dir)
	mustEqual(t, c, old)
	// Once there is room, the same save succeeds.
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, "size=4m"); err != nil {
		t.Fatal(err)
	}
	save(t, f, large)
	_, c = open(t, dir)
	mustEqual(t, c, large)
}
