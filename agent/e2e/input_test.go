package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/agent/internal/trust"
)

// TestBadInput: every mistake gets one clear line and changes nothing.
func TestBadInput(t *testing.T) {
	s := newShelf(t, 2)
	s.load("pi1")
	s.piswarm("pi1", "create --name greeters --publish 9000:5000 greeter")
	foreign := filepath.Join(dir, "foreign.tar")
	if err := goTool("run", "../../testdata/greeter/image", "-o", foreign, "-name", "foreign:latest", "-platform", "linux/s390x"); err != nil {
		t.Fatal(err)
	}
	s.must("pi1", "piswarm", "image", "load", "-i", foreign)
	whole, err := os.ReadFile(greeterTar)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(dir, "cut.tar")
	if err := os.WriteFile(cut, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	before := s.state()
	for _, c := range []struct{ what, line, want string }{
		{"unknown image", "create --name web no.such.host.invalid/web", "image no.such.host.invalid/web"},
		{"image for another platform", "create --name web foreign", "linux/s390x"},
		{"port already published", "create --name web --publish 9000:80 greeter", "9000/tcp is already published by service greeters"},
		{"service exists", "create --name greeters greeter", "exists already"},
		{"bad name", "create --name we/b greeter", "name"},
		{"bad publish", "create --name web --publish 99999:80 greeter", "99999"},
		{"bad constraint", "create --name web --constraint room=kitchen greeter", "constraint"},
		{"scale of an unknown service", "scale nobody 3", "nobody"},
		{"negative replicas", "scale greeters=-1", "-1"},
		{"absurd replicas", "scale greeters 1000000", "500"},
		{"half of a scale", "scale greeters=3 nobody=2", "nobody"},
		{"truncated image", "image load -i " + cut, "image"},
		{"bad label", "node update --label-add =x pi1", "label"},
		{"unknown node", "node update --availability drain pi9", "pi9"},
		{"second agent", "agent", "runs on this node already"},
		{"init twice", "init", "in a cluster already"},
		{"join twice", "join --token " + trust.NewSecret().Token(), "in a cluster already"},
		{"bad token", "join --token PSWM-1-nonsense", "token"},
		{"unknown command", "fly", "fly"},
		{"unknown flag", "create --wings greeter", "--wings"},
	} {
		r := s.on("pi1", append([]string{"piswarm"}, strings.Fields(c.line)...)...)
		wantOneLine(t, c.what, r, c.want)
	}
	// A mount whose source is missing is known only to the node that runs the task, so the service exists and says
	// what is wrong with it.
	r := s.on("pi1", "piswarm", "create", "--name", "web", "--mount", "type=bind,source=/no/such,target=/x", "greeter")
	if r.code != 2 || !strings.Contains(r.err, "/no/such") {
		t.Errorf("mount source missing: exit %d, %q", r.code, r.err)
	}
	s.piswarm("pi1", "rm web")
	if after := s.state(); after != before {
		t.Errorf("the state was\n%s\nand is\n%s", before, after)
	}

	wantOneLine(t, "no agent running", s.on("laptop", "piswarm", "status"), "no piswarm agent answers")
	wantOneLine(t, "not root", s.on("laptop", "setpriv", "--reuid", "1000", "--clear-groups", "piswarm", "agent"), "root")
	wantOneLine(t, "lab, not root", s.on("laptop", "setpriv", "--reuid", "1000", "--clear-groups", "piswarm", "lab", "up"), "root")
	s.must("laptop", "rm", "/usr/bin/containerd") // the laptop's own copy: its disk is an overlay
	wantOneLine(t, "lab without containerd", s.on("laptop", "piswarm", "lab", "up"), "apt-get install containerd")
}

// TestJoinWithAnotherSecret: the token of another cluster is refused, and says so.
func TestJoinWithAnotherSecret(t *testing.T) {
	s := startLab(t, 2, "")
	s.piswarm("pi1", "init")
	wrong := trust.NewSecret().Token()
	wantOneLine(t, "by mDNS", s.on("pi2", "piswarm", "join", "--token", wrong), "token")
	wantOneLine(t, "by address", s.on("pi2", "piswarm", "join", "--token", wrong, "192.168.77.11"), "another cluster")
	wantOneLine(t, "still in none", s.on("pi2", "piswarm", "status"), "no cluster yet")
	if n := len(s.status("pi1").Nodes); n != 1 {
		t.Errorf("pi1 sees %d nodes", n)
	}
}

// TestTwoOfOneName: two Pis with one host name are two nodes.
func TestTwoOfOneName(t *testing.T) {
	s := startLab(t, 2, "")
	for _, n := range []string{"pi1", "pi2"} {
		s.must(n, "hostname", "raspberrypi")
		s.must(n, "pkill", "-f", "piswarm agent")
	}
	s.eventually(20e9, "pi1 answers", func() bool { return s.on("pi1", "piswarm", "init").code == 0 })
	token := strings.TrimSpace(s.piswarm("pi1", "token"))
	s.eventually(20e9, "pi2 joins", func() bool { return s.on("pi2", "piswarm", "join", "--token", token).code == 0 })
	s.awaitReady(2)
	st := s.status("pi2")
	if st.Nodes[0].Name != "raspberrypi" || st.Nodes[1].Name != "raspberrypi" || st.Nodes[0].ID == st.Nodes[1].ID {
		t.Errorf("nodes: %+v", st.Nodes)
	}
	wantOneLine(t, "an ambiguous name", s.on("pi1", "piswarm", "node", "inspect", "raspberrypi"), st.Nodes[0].ID)
	s.piswarm("pi1", "node inspect "+st.Nodes[1].ID)
}

func wantOneLine(t *testing.T, what string, r result, want string) {
	t.Helper()
	if r.code != 1 || !strings.HasPrefix(r.err, "piswarm: ") || strings.Count(r.err, "\n") != 1 || !strings.Contains(r.err, want) {
		t.Errorf("%s: exit %d, want 1 and one line with %q:\n%s", what, r.code, want, r.err)
	}
}

// state is what must not change: services, settings of nodes.
func (s *shelf) state() string {
	var text strings.Builder
	for _, line := range []string{"ls --format json", "node inspect pi1 --format {{.Labels}}{{.Availability}}", "node ls --format {{.Name}}{{.Status}}"} {
		text.WriteString(s.piswarm("pi1", line))
	}
	return text.String()
}
