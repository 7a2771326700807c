package boot

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/agent/internal/trust"
)

// card is a system under a directory, as an image has it.
type card struct {
	t     *testing.T
	root  string
	named []string // what the kernel was told
	out   bytes.Buffer
}

func newCard(t *testing.T) *card {
	c := &card{t: t, root: t.TempDir()}
	for path, content := range map[string]string{
		"etc/hostname": genericName + "\n", "etc/hosts": "127.0.0.1\tlocalhost\n",
		"usr/share/zoneinfo/Europe/Berlin":           "TZif",
		"sys/firmware/devicetree/base/serial-number": "00000000abcd12EF\x00",
	} {
		c.put(path, content)
	}
	if err := os.MkdirAll(filepath.Join(c.root, bootDir), 0o755); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *card) put(path, content string) {
	c.t.Helper()
	full := filepath.Join(c.root, path)
	if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, []byte(content), 0o644)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *card) get(path string) string {
	c.t.Helper()
	raw, err := os.ReadFile(filepath.Join(c.root, path))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(raw)
}

// boot runs with the settings and returns the mistakes that it left for their author.
func (c *card) boot(settings string) string {
	c.t.Helper()
	c.put(bootDir+"/"+settingsFile, settings)
	return c.again()
}

func (c *card) again() string {
	c.t.Helper()
	c.out.Reset()
	err := Run(Config{Root: c.root, Out: &c.out, SetHostname: func(name string) error {
		c.named = append(c.named, name)
		return nil
	}})
	if err != nil {
		c.t.Fatalf("the boot failed: %v", err)
	}
	raw, err := os.ReadFile(filepath.Join(c.root, bootDir, mistakesFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		c.t.Fatal(err)
	}
	return string(raw)
}

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB5Wx3S7tVQ0pP5p3w4XAJ6H1lXUqk2m1kq0j2m7a1bC me@laptop"

func TestGoodFile(t *testing.T) {
	token := trust.NewSecret().Token()
	c := newCard(t)
	text := `# mine
hostname = "kitchen"
timezone = "Europe/Berlin"
ssh_keys = ["` + key + `"]
token = "` + token + `" # of the shelf
cluster = "home"
labels = { room = "kitchen" }

[wifi]
country = "DE"
ssid = "it's \"mine\""
password = 'correct horse'
`
	if mistakes := c.boot(text); mistakes != "" {
		t.Fatalf("mistakes in a good file:\n%s", mistakes)
	}
	if got := c.get("etc/hostname"); got != "kitchen\n" || !slices.Equal(c.named, []string{"kitchen"}) {
		t.Errorf("host name %q, the kernel was told %q", got, c.named)
	}
	if got := c.get("etc/hosts"); got != "127.0.0.1\tlocalhost\n127.0.1.1\tkitchen\n" {
		t.Errorf("hosts: %q", got)
	}
	if zone, err := os.Readlink(filepath.Join(c.root, "etc/localtime")); err != nil || zone != "/usr/share/zoneinfo/Europe/Berlin" {
		t.Errorf("time zone %q, %v", zone, err)
	}
	if got := c.get("etc/ssh/authorized_keys/pi"); got != key+"\n" {
		t.Errorf("keys: %q", got)
	}
	config := c.get(agentConfig)
	for _, want := range []string{token, `cluster = 'home'`, `room = 'kitchen'`} {
		if !strings.Contains(config, want) {
			t.Errorf("the agent's configuration lacks %s:\n%s", want, config)
		}
	}
	for _, path := range []string{agentConfig, wifiConfig} {
		if info, err := os.Stat(filepath.Join(c.root, path)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	left := c.get(bootDir + "/" + settingsFile)
	if strings.Contains(left, token) || strings.Contains(left, "horse") || len(left) != len(text) {
		t.Errorf("%d bytes of settings, were %d, and secrets may be among them:\n%s", len(left), len(text), left)
	}
	if !strings.Contains(left, "# of the shelf") || !strings.Contains(left, `hostname = "kitchen"`) {
		t.Errorf("more than the secrets is gone:\n%s", left)
	}
	// The secrets outlive the next boot, which writes nothing.
	before := c.stamps()
	if mistakes := c.again(); mistakes != "" {
		t.Errorf("at the next boot: %s", mistakes)
	}
	if after := c.stamps(); !slices.Equal(before, after) {
		t.Errorf("a boot without a change wrote:\n%v\n%v", before, after)
	}
	if !strings.Contains(c.get(agentConfig), token) {
		t.Error("the token is lost")
	}
}

// stamps tells each file of the card with the times of its last change.
func (c *card) stamps() (all []string) {
	err := filepath.Walk(c.root, func(path string, info os.FileInfo, err error) error {
		all = append(all, path+" "+info.ModTime().String())
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return all
}

// The vectors are those of IEEE 802.11, J.4.2.
func TestWiFiKey(t *testing.T) {
	for _, v := range []struct{ ssid, password, psk string }{
		{"IEEE", "password", "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"},
		{"ThisIsASSID", "ThisIsAPassword", "0dc0d6eb90555ed6419756b9a15ec3e3209b63df707dd508d14581f8982721af"},
	} {
		c := newCard(t)
		if mistakes := c.boot("wifi = {country=\"GB\", ssid = '" + v.ssid + "', password = '" + v.password + "'}"); mistakes != "" {
			t.Fatal(mistakes)
		}
		if got := c.get(wifiConfig); !strings.Contains(got, "\tpsk="+v.psk+"\n") || !strings.Contains(got, "country=GB\n") {
			t.Errorf("%s: %s", v.ssid, got)
		}
		if left := c.get(bootDir + "/" + settingsFile); strings.Contains(left, "'"+v.password+"'") {
			t.Errorf("the password is still there: %s", left)
		}
	}
}

func TestWiFiAfterTheSecretWasMoved(t *testing.T) {
	c := newCard(t)
	c.boot("[wifi]\nssid = \"one\"\npassword = \"12345678\"")
	before := c.get(wifiConfig)
	c.boot("[wifi]\ncountry = \"FR\"\nssid = \"one\"\npassword = \"\"")
	if got := c.get(wifiConfig); got != strings.Replace(before, "network", "country=FR\nnetwork", 1) {
		t.Errorf("the key was not kept:\n%s", got)
	}
	// A mistyped password does not make it another network, and stays to be mended; what is right beside it is used.
	secret := trust.NewSecret().Token()
	wrong := "token = \"" + secret + "\"\n[wifi]\nssid = \"two\"\npassword = \"1234567\""
	before = c.get(wifiConfig)
	mistakes := c.boot(wrong)
	if got := c.get(wifiConfig); got != before || !strings.Contains(mistakes, "wifi.password") {
		t.Errorf("a mistyped password changed it, and %q was said:\n%s", mistakes, got)
	}
	left := c.get(bootDir + "/" + settingsFile)
	if strings.Contains(left, secret) || !strings.Contains(left, `"1234567"`) || c.again() != mistakes {
		t.Errorf("it is not said again; left is:\n%s", left)
	}
	if c.boot("wifi = { ssid = \"two\", pasword = \"12345678\" }"); c.get(wifiConfig) != before {
		t.Errorf("a mistyped name of a setting changed it:\n%s", c.get(wifiConfig))
	}
	c.boot("[wifi]\ncountry = \"de\"\nssid = \"one\"")
	if got := c.get(wifiConfig); got != before {
		t.Errorf("a mistyped country changed it:\n%s", got)
	}
	c.boot("[wifi]\nssid = \"two\"")
	if got := c.get(wifiConfig); strings.Contains(got, "psk") || !strings.Contains(got, "key_mgmt=NONE") {
		t.Errorf("another network has the first one's key:\n%s", got)
	}
}

// TestBadFiles boots with what may lie on a card. Each boots, says what is wrong, and takes over what is right.
func TestBadFiles(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []string // in the mistakes
		host string
	}{
		"empty":           {"", nil, "pi-12ef"},
		"half written":    {"hostname = \"kitchen\"\n[wifi]\nssid = \"no\x00\x00\x00\x00", []string{"line 3", "nothing in the file was used"}, "pi-12ef"},
		"binary":          {strings.Repeat("\x00\xff\x7fELF", 1000), []string{"line 1", "nothing in the file was used"}, "pi-12ef"},
		"huge":            {"hostname = \"kitchen\"\n" + strings.Repeat("# much\n", 20_000), []string{"larger than 64 KiB"}, "pi-12ef"},
		"byte order mark": {"\uFEFFhostname = \"kitchen\"\r\n", nil, "kitchen"},
		"some mistakes": {
			"hostname = \"kitchen\"\ntimezone = \"Europe/Atlantis\"\ncolour = 1\nlabels = { \"a b\" = \"c\", room = 3 }\n[wifi]\nssid = \"" + strings.Repeat("x", 33) + "\"\npassword = \"short\"\nhidden = true",
			[]string{"timezone: there is no time zone Europe/Atlantis", `"colour": there is no such setting`, "labels", "wifi.ssid: it has 33 bytes", "wifi.password: want 8 to 63", `"wifi.hidden"`}, "kitchen",
		},
		"hostile": {
			"hostname = \"a;reboot\"\ntimezone = \"../../etc/shadow\"\nssh_keys = [\"x\\nroot\", 1]\n[wifi]\ncountry = \"D\\nE\"\nssid = \"a\\n}\\nnetwork={\"\npassword = \"12345678\\n\"",
			[]string{"hostname", "timezone", "ssh_keys: number 1", "ssh_keys: number 2", "wifi.country", "wifi.password"}, "pi-12ef",
		},
		"wrong types":   {"hostname = 3\nwifi = \"home\"\nlabels = []\ntoken = { }", []string{"hostname: want a text", "wifi: want a table", "labels: want a table", "token: want a text"}, "pi-12ef"},
		"a private key": {"ssh_keys = \"-----BEGIN OPENSSH PRIVATE KEY-----\"", []string{"this is a private key"}, "pi-12ef"},
		"a bad token":   {"token = \"PSWM-1-abcdefgh-notatoken\"", []string{"token: not a piswarm token"}, "pi-12ef"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCard(t)
			mistakes := c.boot(test.text)
			for _, want := range test.want {
				if !strings.Contains(mistakes, want) || !strings.Contains(c.out.String(), want) {
					t.Errorf("no word of %q in the file\n%s\nor on the console\n%s", want, mistakes, c.out.String())
				}
			}
			if len(test.want) == 0 && mistakes != "" {
				t.Errorf("mistakes: %s", mistakes)
			}
			if got := c.get("etc/hostname"); got != test.host+"\n" {
				t.Errorf("host name %q, want %s", got, test.host)
			}
			if strings.Contains(mistakes, "notatoken") || strings.Contains(mistakes, "short") {
				t.Errorf("a secret is quoted: %s", mistakes)
			}
			if strings.Count(mistakes, "network={") > 0 {
				t.Errorf("a mistake goes over more than its line: %s", mistakes)
			}
			// A good file puts an end to the complaints.
			if mistakes := c.boot("hostname = \"bath\""); mistakes != "" || c.get("etc/hostname") != "bath\n" {
				t.Errorf("afterwards: %s", mistakes)
			}
		})
	}
}

func TestUnreadable(t *testing.T) {
	c := newCard(t)
	if mistakes := c.again(); mistakes != "" {
		t.Errorf("without a file: %s", mistakes)
	}
	if err := os.Mkdir(filepath.Join(c.root, bootDir, settingsFile), 0o755); err != nil {
		t.Fatal(err)
	}
	if mistakes := c.again(); !strings.Contains(mistakes, "the file cannot be read") {
		t.Errorf("with a directory in its place: %q", mistakes)
	}
	if got := c.get("etc/hostname"); got != "pi-12ef\n" {
		t.Errorf("host name %q", got)
	}
}

// TestSecretStaysUntilItIsSafe: a token that could not be put away is the only one there is.
func TestSecretStaysUntilItIsSafe(t *testing.T) {
	c := newCard(t)
	c.put("etc/piswarm", "in the way")
	token := trust.NewSecret().Token()
	mistakes := c.boot("token = \"" + token + "\"")
	if !strings.Contains(mistakes, "token") || !strings.Contains(c.get(bootDir+"/"+settingsFile), token) {
		t.Errorf("mistakes %q, file %q", mistakes, c.get(bootDir+"/"+settingsFile))
	}
	if strings.Contains(mistakes, token) {
		t.Error("the token is in the mistakes")
	}
}

// TestMistypedTokenStays beside a password that was right.
func TestMistypedTokenStays(t *testing.T) {
	c := newCard(t)
	mistakes := c.boot("token = \"PSWM-1-abcdefgh-mistyped\"\n[wifi]\nssid = \"one\"\npassword = \"12345678\"")
	left := c.get(bootDir + "/" + settingsFile)
	if !strings.Contains(mistakes, "token: ") || !strings.Contains(left, "mistyped") || strings.Contains(left, "12345678") {
		t.Errorf("mistakes %q, file %q", mistakes, left)
	}
	if again := c.again(); again != mistakes {
		t.Errorf("at the next boot: %q", again)
	}
}

// TestAgentKeepsItsSettings that this boot does not set, or would set wrongly.
func TestAgentKeepsItsSettings(t *testing.T) {
	c := newCard(t)
	c.put(agentConfig, "cluster = 'home'\ndashboard = 'view'\nvip = '192.168.1.250'\n")
	mistakes := c.boot("vip = \"192.168.1\"\nlabels = { room = \"attic\" }")
	got := c.get(agentConfig)
	for _, want := range []string{"cluster = 'home'", "dashboard = 'view'", "vip = '192.168.1.250'", "room = 'attic'"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in:\n%s", want, got)
		}
	}
	if !strings.Contains(mistakes, "vip: ") {
		t.Errorf("mistakes: %q", mistakes)
	}
}

func TestNameSetByHandStays(t *testing.T) {
	c := newCard(t)
	c.put("etc/hostname", "attic\n")
	c.boot("")
	if got := c.get("etc/hostname"); got != "attic\n" || len(c.named) != 0 {
		t.Errorf("host name %q", got)
	}
}

// FuzzFile wants of any file that its secrets go, its length stays, and no setting but they changes.
func FuzzFile(f *testing.F) {
	for _, seed := range []string{
		"token = \"a\"\n[wifi]\nssid='x'\npassword = \"12345678\"", "wifi.password = '''12345678\n'''", "wifi = { password = \"\\u0031\\u0032345678\" }",
		"\uFEFFhostname = \"a\"", "labels = {a = \"b\"}\nssh_keys = [\"" + key + "\"]", "[[wifi]]\npassword=\"12345678\"",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, _ := parse(text)
		path := filepath.Join(t.TempDir(), settingsFile)
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		if s.agent.token == "" && s.wifi.password == "" {
			return
		}
		if err := blank(path, text, s); err != nil {
			t.Fatalf("well formed, and not blanked: %v", err)
		}
		after, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		left, _ := parse(after)
		if len(after) != len(text) || left.agent.token != "" || left.wifi.password != "" || left.hostname != s.hostname {
			t.Fatalf("%q became %q", text, after)
		}
	})
}
