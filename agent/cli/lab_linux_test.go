package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/pkg/lab"
)

// TestLabMistakes are answered before anything is started.
func TestLabMistakes(t *testing.T) {
	for args, want := range map[string]string{
		"lab up --nodes 0":           "--nodes 0: want 1 to 200; see piswarm lab up --help",
		"lab up --forward 70000":     "--forward 70000: want a port, 1 to 65535; see piswarm lab up --help",
		"lab up now":                 `takes no arguments, but got "now"`,
		"lab exec pi1":               "needs a host and a command, for example pi1 -- piswarm status",
		"lab exec pi1 --":            "no command given",
		"lab power-off":              "needs a host, for example pi1",
		"lab cut pi1 pi2":            `but got also "pi2"`,
		"lab split pi1":              "needs two groups of hosts",
		"lab loss pi1 much":          "much: want a percentage, 0 to 100; see piswarm lab loss --help",
		"lab loss pi1 101":           "101: want a percentage",
		"lab readdress pi1 home":     "home: want an IP address",
		"lab clone pi1":              "needs two hosts, for example pi1 pi2",
		"lab shutdown":               "needs a host, for example pi1",
		"lab ls --filter colour=red": "colour",
		"lab halt":                   `unknown command "halt"`,
	} {
		r := run(t, nil, "", strings.Fields(args)...)
		if r.code != exitError || !strings.Contains(r.stderr, want) || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: code %d, stderr %q, want %q", args, r.code, r.stderr, want)
		}
	}
}

// TestLabNews shows progress as it comes, an error as one line, and a program's log apart from it.
func TestLabNews(t *testing.T) {
	for _, c := range []struct{ news, stdout, stderr, err string }{
		{`{"line":"pi1 is up"}{"line":"pi2 is up"}{"up":true}`, "pi1 is up\npi2 is up\n", "", ""},
		{`{"line":"pi1 is up"}{"error":"pi2 is broken\nits log"}`, "pi1 is up\n", "its log\n", "pi2 is broken"},
		{`{"line":"pi1 is up"}`, "pi1 is up\n", "", "the lab's process ended unexpectedly; " + labLog + " may say why"},
	} {
		var stdout, stderr bytes.Buffer
		err := readLabNews(strings.NewReader(c.news), newApp(strings.NewReader(""), &stdout, &stderr))
		if stdout.String() != c.stdout || stderr.String() != c.stderr || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%s: stdout %q, stderr %q, error %v", c.news, &stdout, &stderr, err)
		}
	}
}

// TestNewsWriter goes on when nobody listens any more.
func TestNewsWriter(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	n := &newsWriter{file: w}
	n.tell(labNews{Line: "a"})
	buffer := make([]byte, 100)
	if got, err := r.Read(buffer); err != nil || string(buffer[:got]) != "{\"line\":\"a\"}\n" {
		t.Errorf("got %q, error %v", buffer[:got], err)
	}
	r.Close()
	n.tell(labNews{Line: "b"})
	if n.file != nil {
		t.Error("it still has a pipe that nobody reads")
	}
	n.tell(labNews{Line: "c"})
	n.close()
}

func TestLabList(t *testing.T) {
	var out bytes.Buffer
	hosts := []lab.Host{{Name: "pi1", Address: "192.168.77.11", Power: "on", Network: "cut", PID: 7}}
	for format, want := range map[string]string{
		"table":        "NAME   ADDRESS         POWER   NETWORK\npi1    192.168.77.11   on      cut\n",
		"json":         `[{"name":"pi1","address":"192.168.77.11","power":"on","network":"cut","pid":7}]` + "\n",
		"{{.Address}}": "192.168.77.11\n",
	} {
		out.Reset()
		if err := labHostList.print(&out, listOptions{format: format}, hosts); err != nil || out.String() != want {
			t.Errorf("%s: got %q, error %v", format, &out, err)
		}
	}
	hosts = []lab.Host{{Name: "pi1", Network: "up", Group: 2, Loss: 10}, {Name: "pi2", Network: "up"}}
	out.Reset()
	want := "NAME   ADDRESS   POWER   NETWORK\npi1                      up, group 2, 10 % lost\npi2                      up\n"
	if err := labHostList.print(&out, listOptions{format: "table"}, hosts); err != nil || out.String() != want {
		t.Errorf("got %q, error %v", &out, err)
	}
}
