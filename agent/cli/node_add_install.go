package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// aptScript installs %[2]s, with %[1]s in front of what needs root, and removes the directory %[3]s. It goes on when the
// connection or the person is gone, because dpkg that is stopped half way leaves work for someone who knows it. What apt
// says is kept for the error.
const aptScript = `{
trap "" HUP INT PIPE
PATH=$PATH:/usr/sbin:/sbin
log=$(mktemp) || exit 1
%[1]senv DEBIAN_FRONTEND=noninteractive apt-get install -y -q -o DPkg::Lock::Timeout=120 %[2]s </dev/null >$log 2>&1
code=$?
if [ $code -ne 0 ]; then
	(grep -e "^E:" $log || cat $log) | tail -n 1 >&2
fi
rm -rf $log %[3]s
exit $code
}
`

// copyLimit is for a package to go over Wi-Fi.
const copyLimit = 5 * time.Minute

// install sees to it that the host has a piswarm that runs.
func (n *nodeAdd) install(ctx context.Context, pkg debian) error {
	var err error
	switch program := n.host.program; {
	case pkg.file != nil && (program == nil || program.Version != n.member.Version):
		err = n.installFile(ctx, pkg)
	case n.host.path == "":
		if err := n.available(ctx); err != nil {
			return err
		}
		n.say("installing piswarm from its package sources")
		_, err = n.ssh.script(ctx, installLimit, fmt.Sprintf(aptScript, n.host.root, "piswarm", ""))
	case program == nil:
		return fmt.Errorf("the piswarm that is installed there does not run on its processor (%s): give the right package with --package FILE.deb", n.host.machine)
	default:
		if program.Version != n.member.Version {
			fmt.Fprintln(n.app.stderr, oneLine(fmt.Sprintf("warning: %s has piswarm %s, and %s has %s", n.name, program.Version, n.member.Node, n.member.Version)))
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("install piswarm: %w", err)
	}
	if n.host, err = probe(ctx, n.ssh); err != nil {
		return err
	}
	if n.host.program == nil {
		return fmt.Errorf("the package is installed, and no piswarm that runs on %s came with it: is it one for another processor?", n.host.machine)
	}
	return nil
}

// installFile copies the package and installs it, with what it depends on.
func (n *nodeAdd) installFile(ctx context.Context, pkg debian) error {
	n.say("copying the package")
	// apt reads the file as a user of its own.
	out, err := n.ssh.script(ctx, probeLimit, "d=$(mktemp -d) && chmod 755 $d && echo \"dir $d\"\n")
	if err != nil {
		return err
	}
	dir := ""
	for line := range strings.Lines(out) {
		if d, ok := strings.CutPrefix(strings.TrimSpace(line), "dir "); ok && isPath(d) {
			dir = d
		}
	}
	if dir == "" {
		return errors.New("no room for the package: mktemp -d says nothing that makes sense")
	}
	file := dir + "/piswarm.deb"
	if _, err := n.ssh.run(ctx, copyLimit, "cat >"+file, pkg.file); err != nil {
		_, _ = n.ssh.script(ctx, probeLimit, "rm -rf "+dir+"\n") // what is left of it says less than why it failed
		return fmt.Errorf("copy the package: %w", err)
	}
	n.say("installing the package")
	_, err = n.ssh.script(ctx, installLimit, fmt.Sprintf(aptScript, n.host.root, file, dir))
	return err
}

// available tells whether the host's package sources have piswarm.
func (n *nodeAdd) available(ctx context.Context) error {
	out, err := n.ssh.run(ctx, probeLimit, "env LC_ALL=C apt-cache policy piswarm", nil)
	if err != nil {
		return fmt.Errorf("look for a package of piswarm: %w", err)
	}
	for line := range strings.Lines(out) {
		if candidate, ok := strings.CutPrefix(strings.TrimSpace(line), "Candidate:"); ok && strings.TrimSpace(candidate) != "(none)" {
			return nil
		}
	}
	return fmt.Errorf("piswarm is not installed there, and its package sources have none: give the package of the release for its processor (%s) with --package FILE.deb", n.host.machine)
}
