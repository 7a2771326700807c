package lab

import (
	"testing"
)

func TestHosts(t *testing.T) {
	l := startLab(t, 2)
	for _, c := range []string{"id; hostname; cat /etc/hosts /etc/machine-id; ip a; ip r; cat /proc/self/cgroup; ps axf; cat /proc/self/mountinfo; ls -la / /dev; ctr version; ping -c1 pi2; nproc"} {
		t.Log(run(t, l, "pi1", c, 0))
	}
}
