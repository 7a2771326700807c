package cluster

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, c := range []struct {
		check func(string) error
		good  []string
		bad   []string
	}{
		{ValidateServiceName, []string{"a", "web", "Web-1", "my_web", "0", long}, []string{"", "-a", "a-", "_a", "a.b", "a/b", "a b", "ä", "a\n", long + "a", ".."}},
		{ValidateNodeName, []string{"pi1", "pi1.local", "PI_1", long}, []string{"", ".", "..", "pi.", "pi/1", "pi 1", long + "a"}},
		{ValidateLabelKey, []string{"room", "com.example/room", "tls.domains[0].main", "1", strings.Repeat("k", 128)},
			[]string{"", "a b", "a=b", "a!b", "a\tb", "ä", ".a", `a"b`, "a,b", strings.Repeat("k", 129)}},
	} {
		for _, s := range c.good {
			if err := c.check(s); err != nil {
				t.Errorf("%q: %v", s, err)
			}
		}
		for _, s := range c.bad {
			t.Run(s, func(t *testing.T) { checkError(t, c.check(s), "for example") })
		}
	}
}

// TestNameMessages: whoever reads one of these must know what to type next.
func TestNameMessages(t *testing.T) {
	checkError(t, ValidateServiceName(""), "--name web")
	checkError(t, ValidateServiceName(strings.Repeat("ü", 500)), `bad service name "üüü`)
	checkError(t, ValidateNodeName(""), "host name")
}

func TestSettingsValidate(t *testing.T) {
	good := Settings{Name: "pi1", Availability: Active, Role: Manager, Labels: map[string]string{"room": "kitchen", "empty": ""}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for words, spoil := range map[string]func(*Settings){
		"bad node name":         func(s *Settings) { s.Name = "a b" },
		"want active, pause or": func(s *Settings) { s.Availability = "idle" },
		"want manager or":       func(s *Settings) { s.Role = "leader" },
		"bad label key":         func(s *Settings) { s.Labels = map[string]string{"a b": ""} },
		"bad value of label a":  func(s *Settings) { s.Labels = map[string]string{"a": "\xff"} },
		"bad value of label b":  func(s *Settings) { s.Labels = map[string]string{"b": strings.Repeat("x", 4097)} },
	} {
		s := good
		spoil(&s)
		t.Run(words, func(t *testing.T) { checkError(t, s.Validate(), words) })
	}
}
