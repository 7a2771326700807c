package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/agent/internal/trust"
)

func load(t *testing.T, text string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "piswarm.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadConfig(path)
}

func TestLoadConfig(t *testing.T) {
	if c, err := LoadConfig(filepath.Join(t.TempDir(), "none.toml")); err != nil || c.Token != "" {
		t.Errorf("no file: %+v %v", c, err)
	}
	token := trust.NewSecret().Token()
	c, err := load(t, "# a comment\ntoken = \""+token+"\"\ncluster = \"shelf\"\nadvertise = \"eth0\"\n[labels]\nroom = \"kitchen\"\n")
	if err != nil || c.Token != token || c.Cluster != "shelf" || c.Advertise != "eth0" || c.Labels["room"] != "kitchen" {
		t.Errorf("all settings: %+v %v", c, err)
	}
}

// The error names the place and what is wanted, in one line, and nothing that could be the token.
func TestLoadConfigRefuses(t *testing.T) {
	token := trust.NewSecret().Token()
	secret := token[len(token)-20:]
	for name, test := range map[string]struct{ text, want string }{
		"unknown setting":       {"cluster = \"home\"\ntokne = \"" + token + "\"\n", "line 2: there is no setting tokne: want token, cluster, advertise, vip, labels or dashboard"},
		"vip of IPv6":           {"vip = \"fe80::1\"\n", "vip: fe80::1 is no address that a node of a LAN can have: want an IPv4 address, for example 192.168.1.250"},
		"vip of a loop":         {"vip = \"127.0.0.1\"\n", "vip: 127.0.0.1 is no address"},
		"unknown table":         {"[agent]\nname = \"x\"\n", "there is no setting agent"},
		"token cut short":       {"token = \"" + token[:len(token)-3] + "\"\n", "token: not a piswarm token"},
		"token with a mistake":  {"token = \"" + token[:9] + flip(token[9]) + token[10:] + "\"\n", "token: the token has a mistake"},
		"token without quotes":  {"token = " + token + "\n", "line 1"},
		"token with one quote":  {"token = \"" + token + "\n", "line 1"},
		"token as a list":       {"token = [\"" + token + "\"]\n", "line 1"},
		"token as a key":        {token + "\n", "line 1"},
		"token given twice":     {"token = \"" + token + "\"\ntoken = \"" + token + "\"\n", "line 2"},
		"label without a name":  {"[labels]\n\"\" = \"x\"\n", "labels: "},
		"label with a bad name": {"[labels]\n\"a=b\" = \"x\"\n", "labels: "},
		"label with a number":   {"[labels]\nfloor = 3\n", "line 2"},
		"bad cluster name":      {"cluster = \"my home\"\n", "cluster: bad name \"my home\""},
		"not text":              {"cluster = \"\xff\"\n", "line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, test.text)
			if err == nil {
				t.Fatal("was taken")
			}
			text := err.Error()
			if !strings.Contains(text, test.want) || !strings.Contains(text, "piswarm.toml") || strings.Contains(text, "\n") {
				t.Errorf("error: %s\nwant: … %s", text, test.want)
			}
			if strings.Contains(strings.ToLower(text), secret) {
				t.Errorf("the error tells the token: %s", text)
			}
		})
	}
}

func flip(b byte) string {
	if b == 'a' {
		return "b"
	}
	return "a"
}
