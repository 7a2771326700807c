package lab

import (
	"strings"
	"testing"
)

// TestClone starts a host from a copy of another's disk: what was installed there is here too, what is the machine's is
// not, and from then on each writes to its own.
func TestClone(t *testing.T) {
	l := startLab(t, 2)
	run(t, l, "pi1", `echo kept | tee /root/file > /var/lib/piswarm/file; rm /etc/hostname; ln -s file /root/link
		setfattr -n user.colour -v red /var/lib/piswarm/file 2>/dev/null; rm -r /usr/share/doc; mkdir /usr/share/doc`, 0)
	run(t, l, "pi2", "touch /root/mine /var/lib/piswarm/mine", 0)
	id := run(t, l, "pi1", "cat /etc/machine-id", 0)
	mac := run(t, l, "pi2", "cat /sys/class/net/eth0/address", 0)
	for _, name := range []string{"pi1", "pi2"} {
		if err := l.Clone(t.Context(), "pi1", "pi2"); err == nil || !strings.Contains(err.Error(), name+" is on; power it off first") {
			t.Errorf("%s on: error %v", name, err)
		}
		if err := l.PowerOff(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Clone(t.Context(), "pi1", "pi1"); err == nil || !strings.Contains(err.Error(), "want two hosts") {
		t.Errorf("of itself: error %v", err)
	}
	if err := l.Clone(t.Context(), "pi1", "pi2"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pi1", "pi2"} {
		if err := l.PowerOn(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if got := run(t, l, name, "cat /etc/machine-id", 0); got != id {
			t.Errorf("machine ID of %s: %s, want %s", name, got, id)
		}
		if got := run(t, l, name, "cat /root/file /root/link /var/lib/piswarm/file; ls -A /usr/share/doc", 0); got != "kept\nkept\nkept" {
			t.Errorf("disk of %s: %q", name, got)
		}
		if got := run(t, l, name, "hostname; cat /etc/hostname", 0); got != name+"\n"+name {
			t.Errorf("%s is called %q", name, got)
		}
	}
	run(t, l, "pi2", "test ! -e /root/mine -a ! -e /var/lib/piswarm/mine", 0)
	if got := run(t, l, "pi2", "cat /sys/class/net/eth0/address", 0); got != mac {
		t.Errorf("its MAC was %s and is %s", mac, got)
	}
	run(t, l, "pi2", "echo other > /root/file", 0)
	if got := run(t, l, "pi1", "cat /root/file", 0); got != "kept" {
		t.Errorf("what pi2 wrote, pi1 reads: %q", got)
	}
}
