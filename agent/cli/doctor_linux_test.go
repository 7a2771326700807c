package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/agent"
)

func TestDoctor(t *testing.T) {
	well := agent.Finding{Check: "iptables", OK: true, Note: "iptables v1.8.9 (nf_tables)"}
	ill := agent.Finding{Check: "power", Problem: "the power supply is too weak", Fix: "use a better one", Note: "firmware flags 0x1"}
	for _, test := range []struct {
		format         string
		all            []agent.Finding
		stdout, stderr string
		code           int
	}{
		{"table", []agent.Finding{well, ill},
			"CHECK      RESULT                                              FIX\n" +
				"iptables   ok (iptables v1.8.9 (nf_tables))\n" +
				"power      the power supply is too weak (firmware flags 0x1)   use a better one\n",
			"piswarm: 1 problem found on this machine: each has its fix beside it\n", 1},
		{"json", []agent.Finding{well, ill},
			`[{"check":"iptables","ok":true,"note":"iptables v1.8.9 (nf_tables)"},` +
				`{"check":"power","ok":false,"problem":"the power supply is too weak","fix":"use a better one","note":"firmware flags 0x1"}]` + "\n",
			"piswarm: 1 problem found on this machine: each has its fix beside it\n", 1},
		{"table", []agent.Finding{{Check: "clock", OK: true}}, "CHECK   RESULT   FIX\nclock   ok\n", "", 0},
		{"{{.Check}}: {{.Fix}}", []agent.Finding{ill}, "power: use a better one\n",
			"piswarm: 1 problem found on this machine: each has its fix beside it\n", 1},
	} {
		var stdout, stderr bytes.Buffer
		a := newApp(strings.NewReader(""), &stdout, &stderr)
		code := a.report(writeFindings(a, listOptions{format: test.format}, test.all))
		if stdout.String() != test.stdout || stderr.String() != test.stderr || code != test.code {
			t.Errorf("%s:\n%s%s[%d]\nwant:\n%s%s[%d]", test.format, &stdout, &stderr, code, test.stdout, test.stderr, test.code)
		}
	}
}
