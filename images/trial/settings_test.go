package trial

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// TestSettings boots with settings that nobody should write. Each Pi comes up, with its agent, and the mistakes are told in
// a file beside the settings.
func TestSettings(t *testing.T) {
	b, image := theBoard(t)
	for _, test := range []struct {
		name     string
		content  func(text string) []byte
		mistakes string // in piswarm-errors.txt; none if ""
		cluster  bool   // whether the token was taken over
	}{
		{"absent", nil, "", false},
		{"unreadable", nil, "cannot be read", false},
		{"half-written", func(text string) []byte {
			upTo, _, _ := strings.Cut(strings.Replace(text, "# hostname", "hostname", 1), `chen"`)
			return []byte(upTo)
		}, "is not TOML", false},
		{"quotes", func(text string) []byte {
			return []byte(text + "\n[wifi]\ncountry = \"DE\"\nssid = \"it's \\\"mine\\\" \\\\ \\u0007 ⚡\"\npassword = \"short\"\n")
		}, "wifi.password", true},
		{"binary", func(string) []byte { return bytes.Repeat([]byte("\x00\xff\xfe\x1b[2J\n"), 1000) }, "is not TOML", false},
		{"huge", func(text string) []byte {
			return append([]byte(text), bytes.Repeat([]byte("# more and more\n"), 1<<19)...)
		}, "larger than", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			l := newLAN(t, 1)
			g := newGuest(t, l, b, image, 1, test.content)
			if test.content == nil {
				tool(t, "mdel", "-i", g.card+"@@4M", "::piswarm.toml")
			}
			if test.name == "unreadable" { // as a directory is
				tool(t, "mmd", "-i", g.card+"@@4M", "::piswarm.toml")
			}
			g.powerOn()
			g.awaitPrinted("login screen", regexp.QuoteMeta(g.name)+` login: `)
			want := "is in no cluster yet"
			if test.cluster {
				want = "cluster .*, leader " + g.name
			}
			g.awaitPrinted("state of the agent on it", want)
			g.powerOff()
			list := tool(t, "mdir", "-b", "-i", g.card+"@@4M", "::")
			if (test.mistakes == "") != !strings.Contains(list, "piswarm-errors.txt") {
				t.Fatalf("files:\n%s", list)
			}
			if test.mistakes != "" {
				if g.fetch("piswarm-errors.txt"); !strings.Contains(string(g.file("piswarm-errors.txt")), test.mistakes) {
					t.Errorf("no word of %q in\n%s", test.mistakes, g.file("piswarm-errors.txt"))
				}
			}
		})
	}
}
