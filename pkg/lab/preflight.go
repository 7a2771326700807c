package lab

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Preflight tells whether this machine can run a lab and, if not, what to do.
func Preflight() error {
	if os.Geteuid() != 0 {
		return errors.New("the lab needs root: run it with sudo")
	}
	var missing []string
	for _, program := range []string{"containerd", "runc", "iptables"} {
		if !onHostPath(program) {
			missing = append(missing, program)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("the lab needs %s: apt-get install containerd runc iptables", strings.Join(missing, ", "))
	}
	return nil
}

// onHostPath tells whether the hosts, which see this machine's programs, will find one.
func onHostPath(program string) bool {
	for dir := range strings.SplitSeq(hostPath, ":") {
		if unix.Access(dir+"/"+program, unix.X_OK) == nil {
			return true
		}
	}
	return false
}
