package boot

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/agent/internal/trust"
)

// TestTemplate reads the file that each SD image carries: as it is, and with all of its suggestions taken up.
func TestTemplate(t *testing.T) {
	raw, err := os.ReadFile("../../../images/piswarm.toml")
	if err != nil {
		t.Fatal(err)
	}
	if mistakes := newCard(t).boot(string(raw)); mistakes != "" {
		t.Errorf("mistakes in the template:\n%s", mistakes)
	}
	all := regexp.MustCompile(`(?m)^# (\[?[a-z_]+( = |\]))`).ReplaceAllString(string(raw), "$1")
	all = strings.Replace(all, `token = ""`, `token = "`+trust.NewSecret().Token()+`"`, 1)
	all = strings.Replace(all, "ssh-ed25519 AAAA… me@laptop", key, 1)
	c := newCard(t)
	if mistakes := c.boot(all); mistakes != "" {
		t.Errorf("mistakes, with all that the template suggests:\n%s\n%s", mistakes, all)
	}
	s, _ := parse([]byte(all))
	if s.hostname == "" || s.timezone == "" || len(s.sshKeys) != 1 || s.wifi.country == "" || s.wifi.ssid == "" || s.wifi.password == "" ||
		s.agent.token == "" || s.agent.cluster == "" || s.agent.vip == "" || len(s.agent.labels) == 0 {
		t.Errorf("not each setting is suggested in the template: %+v", s)
	}
}
