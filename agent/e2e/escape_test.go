package e2e

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestBox tries to get out of containers: of one as it comes, of others that were asked to be stricter, and of a
// privileged one, to see that what is refused elsewhere would have worked.
func TestBox(t *testing.T) {
	program, setuid := filepath.Join(dir, "escape"), filepath.Join(dir, "escape-setuid")
	if err := goTool("build", "-o", program, "../../testdata/escape"); err != nil {
		t.Fatal(err)
	}
	s := newShelf(t, 2)
	s.load("pi1")
	s.must("pi1", "install", "-m", "4755", program, setuid)
	const first, second = "192.168.77.11", "192.168.77.12"
	create := func(name, port, flags string) {
		t.Helper()
		s.piswarm("pi1", "create --name "+name+" --publish "+port+":5000 --constraint node.hostname==pi1 --entrypoint /escape "+flags+
			" --mount type=bind,source="+program+",target=/escape,readonly --mount type=bind,source="+setuid+",target=/setuid,readonly"+
			" --mount type=tmpfs,target=/dev/shm greeter "+first+" "+second)
	}
	ask := func(port, path string) string {
		t.Helper()
		return s.must("laptop", "curl", "-sS", "--fail", "--retry", "5", "--retry-connrefused", "-m", "60", "http://pi1:"+port+path)
	}
	results := func(port, path string) map[string]string {
		t.Helper()
		all := map[string]string{}
		for line := range strings.Lines(ask(port, path)) {
			name, result, _ := strings.Cut(strings.TrimSpace(line), "\t")
			all[name] = result
		}
		return all
	}

	create("default", "9001", "--limit-pids 100")
	got := results("9001", "/")
	if len(got) < 44 {
		t.Errorf("only %d ways out were tried: %v", len(got), got)
	}
	for name, result := range got {
		// Its own files are its own.
		if want := name == "write /"; (result == "allowed") != want {
			t.Errorf("default: %s is %s", name, result)
		}
	}
	// What is refused must be refused by what is meant to.
	for name, want := range map[string]string{
		"agent socket": "no such file", "7946": "timeout", "write /sys": "read-only", "write /sys/fs/cgroup": "read-only", "write /proc/sys": "read-only",
		"setuid program": "it runs as 1000", "mount": "not permitted", "raw socket": "not permitted", "add_key": "not permitted",
	} {
		for attempt, result := range got {
			if (attempt == name || strings.HasSuffix(attempt, ":"+name)) && !strings.Contains(result, want) {
				t.Errorf("default: %s is %s, want %s", attempt, result, want)
			}
		}
	}
	if got := s.must("pi1", "sh", "-c", "cat /sys/fs/cgroup/pids/piswarm/*/pids.max"); strings.TrimSpace(got) != "100" {
		t.Errorf("the limit of processes is %q", got)
	}
	if got := ask("9001", "/bomb"); !regexp.MustCompile(`^refused after [0-9]{1,2}: .*temporarily unavailable`).MatchString(got) {
		t.Errorf("a program that starts others: %s", got)
	}
	if got := ask("9001", "/self"); got != "pid 1 uid 0 gid 0\n" {
		t.Errorf("after that it is %q", got)
	}
	// Others reach what the container did not.
	for _, port := range []string{"7946", "7947"} {
		for _, from := range []string{"pi1", "pi2", "laptop"} {
			s.must(from, "timeout", "5", "bash", "-c", "</dev/tcp/"+first+"/"+port)
		}
	}

	create("strict", "9002", "--user 1234:1235 --read-only --init --cap-drop ALL")
	if got := ask("9002", "/self"); !strings.HasSuffix(got, " uid 1234 gid 1235\n") || strings.HasPrefix(got, "pid 1 ") {
		t.Errorf("with a user and an init: %q", got)
	}
	for name, result := range results("9002", "/") {
		if result == "allowed" {
			t.Errorf("strict: %s is allowed", name)
		}
	}

	create("privileged", "9003", "--privileged")
	tries := []string{
		"mount", "mount namespace", "raw socket", "packet socket", "add_key", "new keyring", "request_key", "mknod kernel messages",
		"write /proc/sys", "write /sys", "write /sys/fs/cgroup", "setuid program", "write /", "read /proc/keys",
		"agent socket", "bridge:7946", "bridge:7947", first + ":7947", second + ":7946", second + ":7947",
	}
	open := results("9003", "/?try="+strings.ReplaceAll(strings.Join(tries, ","), " ", "%20"))
	for name, result := range open {
		// Not even this one talks to the members.
		if want := name != "agent socket" && !regexp.MustCompile(`:794[67]$`).MatchString(name); (result == "allowed") != want {
			t.Errorf("privileged: %s is %s", name, result)
		}
	}
	if len(open) != len(tries) {
		t.Errorf("privileged: %d ways were tried: %v", len(open), open)
	}

	// Each of the words of create is one of update.
	s.piswarm("pi2", "update --user 99 --init=false --read-only=false --limit-pids 0 strict")
	s.eventually(20*time.Second, "the update holds", func() bool { return ask("9002", "/self") == "pid 1 uid 99 gid 0\n" })
}
