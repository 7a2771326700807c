package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestRightsOfTheUnit runs agents with the capabilities that the systemd unit leaves them, and no others: enough for all
// that an agent does, and none that it passes on to containers.
func TestRightsOfTheUnit(t *testing.T) {
	unit, err := os.ReadFile("../../systemd/piswarm.service")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^CapabilityBoundingSet=(.*)$`).FindSubmatch(unit)
	if line == nil {
		t.Fatal("the unit has no CapabilityBoundingSet")
	}
	set := "-all"
	for name := range strings.FieldsSeq(strings.ToLower(string(line[1]))) {
		set += ",+" + strings.TrimPrefix(name, "cap_")
	}
	// The lab runs the agent as it runs every other command of the program.
	wrapper := filepath.Join(dir, "piswarm-bounded")
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" != agent ] || exec setpriv --no-new-privs --bounding-set %s %s \"$@\"\nexec %s \"$@\"\n", set, binary, binary)
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	s := startLabOf(t, 2, "", wrapper)
	s.piswarm("pi1", "init")
	token := strings.TrimSpace(s.piswarm("pi1", "token"))
	s.piswarm("pi2", "join --token "+token)
	s.awaitReady(2)
	agentStatus := s.must("pi1", "sh", "-c", "cat /proc/$(pgrep -f 'piswarm agent$')/status")
	whole := field(s.must("pi1", "cat", "/proc/1/status"), "CapBnd:")
	if bounded := field(agentStatus, "CapBnd:"); bounded == whole || field(agentStatus, "NoNewPrivs:") != "1" {
		t.Fatalf("the agent is bounded by %s, as the machine is: the test shows nothing", bounded)
	}

	s.load("pi1")
	s.piswarm("pi2", "create --name greeters --publish 9000:5000 --replicas 4 --limit-memory 32m --mount type=volume,source=store,target=/store greeter")
	s.wantEven("a service", s.fetch("laptop", "http://pi2:9000/", 8), 4, 2)
	for _, user := range []string{"0", "1000", "1000:1000"} { // of whom the container's files may tell more
		if got := s.piswarm("pi1", "exec -u "+user+" greeters.1 /greeter get 1 http://127.0.0.1:5000/"); !strings.Contains(got, "Hello") {
			t.Errorf("a command as user %s says %q", user, got)
		}
	}
	s.piswarm("pi1", "create --name all --publish 9001:5000 --privileged greeter")
	if got := s.must("pi1", "sh", "-c", "grep -l greeter /proc/[0-9]*/comm | sed 's/comm/status/' | xargs grep -h CapBnd; true") +
		s.must("pi2", "sh", "-c", "grep -l greeter /proc/[0-9]*/comm | sed 's/comm/status/' | xargs grep -h CapBnd; true"); !strings.Contains(got, whole) {
		t.Errorf("a privileged container has no more than its agent: %s, want one with %s", got, whole)
	}
	// It finds its own again, and ends them.
	s.must("pi1", "pkill", "-9", "-f", "piswarm agent$")
	s.awaitReady(2)
	s.answering(20*time.Second, "after a restart of the agent", []string{"pi1"}, 9000, 4) // rules written anew begin their round anew
	s.piswarm("pi1", "scale greeters 1")
	s.piswarm("pi1", "rm greeters all")
	s.eventually(20*time.Second, "no container is left", func() bool {
		return s.must("pi1", "sh", "-c", "pgrep greeter; true")+s.must("pi2", "sh", "-c", "pgrep greeter; true") == ""
	})
	for _, node := range []string{"pi1", "pi2"} {
		s.eventually(20*time.Second, "nothing is left of the services on "+node, func() bool {
			return s.must(node, "sh", "-c", "iptables-save | grep -e '--dport 900' -e TCP-900; ls /run/piswarm/netns") == ""
		})
		path, err := s.lab.LogFile(node, "agent")
		if err != nil {
			t.Fatal(err)
		}
		log, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if lines := regexp.MustCompile(`(?m)^.*(not permitted|denied).*$`).FindAll(log, -1); lines != nil {
			t.Errorf("%s: %q", node, lines)
		}
	}
	if warnings := fmt.Sprint(s.status("pi1").Nodes); regexp.MustCompile(`not permitted|denied`).MatchString(warnings) {
		t.Errorf("warnings: %s", warnings)
	}
}
