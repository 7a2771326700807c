package doctor

import (
	"context"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestIptables tries both variants in a network namespace, and looks that nothing is left there.
func TestIptables(t *testing.T) {
	for _, command := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(command, func(t *testing.T) {
			runtime.LockOSThread() // the thread ends with the test's goroutine
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				t.Fatalf("make a network namespace (this test needs root): %v", err)
			}
			broken := ""
			m := Machine{Privileged: true, Run: func(ctx context.Context, _ string, args ...string) (string, error) {
				for i := range args {
					if args[i] == broken {
						args[i] = "no-such-match"
					}
				}
				return run(ctx, command, args...)
			}}
			for range 2 {
				if f := iptables(t.Context(), m); !f.OK || !strings.HasPrefix(f.Note, "iptables v") {
					t.Errorf("%+v", f)
				}
			}
			broken = "addrtype"
			f := iptables(t.Context(), m)
			if f.OK || f.Problem != "iptables cannot do addrtype" || !strings.Contains(f.Note, "no-such-match") {
				t.Errorf("without addrtype: %+v", f)
			}
			if out, err := exec.Command(command + "-save").CombinedOutput(); err != nil || strings.Contains(string(out), scratch) {
				t.Errorf("left over: %v\n%s", err, out)
			}
		})
	}
}
