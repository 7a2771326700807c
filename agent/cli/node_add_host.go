package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/piswarm/piswarm/pkg/client"
)

// host is what a look at a computer over ssh finds.
type host struct {
	name    string // host name
	system  string // uname -s
	machine string // uname -m
	title   string // of the operating system, for people
	distro  string // ID of os-release
	release string // VERSION_ID of os-release
	root    string // what a command that needs root begins with
	asRoot  bool
	systemd bool // runs

	path    string          // of the program named piswarm; empty if there is none
	program *client.Version // of that program; nil if it does not run
	agent   *client.Version // of the agent that answers there; nil if none does
}

// probeScript says a fact a line.
const probeScript = `
PATH=$PATH:/usr/local/bin:/usr/local/sbin:/usr/sbin:/sbin
echo "name $(uname -n)"
echo "system $(uname -s)"
echo "machine $(uname -m)"
if [ -r /etc/os-release ]; then
	(. /etc/os-release; echo "distro $ID"; echo "release $VERSION_ID"; echo "title $PRETTY_NAME")
fi
as=
if [ "$(id -u)" = 0 ]; then
	echo "root yes"
elif sudo -n true 2>/dev/null; then
	as="sudo -n"
	echo "root $as"
fi
if [ -d /run/systemd/system ]; then
	echo "systemd yes"
fi
if p=$(command -v piswarm); then
	echo "path $p"
	echo "piswarm $($as $p version --format json 2>/dev/null)"
fi
`

func probe(ctx context.Context, ssh *sshHost) (host, error) {
	out, err := ssh.script(ctx, probeLimit, probeScript)
	if err != nil {
		return host{}, fmt.Errorf("look at the host: %w", err)
	}
	return readHost(out), nil
}

// readHost reads what probeScript printed. A line that it does not know comes from a login that greets.
func readHost(out string) host {
	var h host
	for line := range strings.Lines(out) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		value = oneLine(value)
		switch key {
		case "name":
			h.name = value
		case "system":
			h.system = value
		case "machine":
			h.machine = value
		case "distro":
			h.distro = value
		case "release":
			h.release = value
		case "title":
			h.title = value
		case "root":
			h.asRoot = true
			if value != "yes" {
				h.root = "sudo -n "
			}
		case "systemd":
			h.systemd = true
		case "path":
			if isPath(value) {
				h.path = value
			}
		case "piswarm":
			var v versions
			if json.Unmarshal([]byte(value), &v) == nil && v.Client.Version != "" {
				h.program, h.agent = &v.Client, v.Agent
			}
		}
	}
	return h
}

// isPath tells whether a path means the same to every shell.
func isPath(s string) bool {
	return strings.HasPrefix(s, "/") && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("/._-", r) && (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r))
	})
}

// machines are the processors that piswarm is built for, in the words of uname -m: the Pi Zero and 1, the Pi 2, 64-bit
// kernels, and a PC.
var machines = []string{"armv6l", "armv7l", "aarch64", "x86_64"}

// oldestDebian is the first release that has a containerd that piswarm works with.
const oldestDebian = 12

// check tells why the host cannot be a node.
func (h host) check() error {
	const want = "a node needs Raspberry Pi OS or Debian, 12 or newer"
	if h.system != "Linux" {
		return fmt.Errorf("it runs %s: %s", orUnknown(h.system), want)
	}
	if !slices.Contains(machines, h.machine) {
		return fmt.Errorf("its processor is %s: want one of %s", orUnknown(h.machine), strings.Join(machines, ", "))
	}
	title := h.title
	if title == "" {
		title = strings.TrimSpace(h.distro + " " + h.release)
	}
	if h.distro != "debian" && h.distro != "raspbian" {
		return fmt.Errorf("it runs %s: %s", orUnknown(title), want)
	}
	// Debian's own next release has no number yet.
	if number, err := strconv.Atoi(h.release); h.release != "" && (err != nil || number < oldestDebian) {
		return fmt.Errorf("it runs %s: %s", title, want)
	}
	if !h.asRoot {
		return errors.New("the user is not root there, and sudo wants a password: connect as root, or allow sudo without one")
	}
	return nil
}

func orUnknown(s string) string {
	if s == "" {
		return "something unknown"
	}
	return s
}
