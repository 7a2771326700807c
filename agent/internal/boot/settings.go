package boot

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// maxFile is the largest settings file in bytes: far more than a person writes.
const maxFile = 64 << 10

// settings are what the file says and what of it is well formed. The zero value of each says nothing.
type settings struct {
	hostname string
	timezone string
	sshKeys  []string
	wifi     wifi
	agent    agentSettings
}

// wifi is the network to join. Without a password it is an open one, or the one that was set up before.
type wifi struct{ country, ssid, password string }

// agentSettings are those for the agent's own configuration.
type agentSettings struct {
	token, cluster, advertise, vip string
	labels                         map[string]string
}

// parse reads the file. A setting with a mistake is left out and is one of the errors; if the file as a whole cannot be
// read, all are left out.
func parse(text []byte) (s settings, mistakes []error) {
	if len(text) > maxFile {
		return s, []error{fmt.Errorf("the file is larger than %d KiB, so nothing in it was used", maxFile>>10)}
	}
	var all map[string]any
	// Editors of other systems begin a text with a byte order mark.
	if err := toml.Unmarshal([]byte(strings.TrimPrefix(string(text), "\uFEFF")), &all); err != nil {
		return s, []error{explain(err)}
	}
	t := &table{all: all}
	s.hostname = t.text("hostname", cluster.ValidateNodeName)
	s.timezone = t.text("timezone", checkTimezone)
	s.sshKeys = t.texts("ssh_keys", checkSSHKey)
	w := t.table("wifi")
	s.wifi.country = w.text("country", checkCountry)
	harmless := len(w.mistakes)
	s.wifi.ssid, s.wifi.password = w.text("ssid", checkSSID), w.text("password", checkPassword)
	w.end()
	if s.wifi.ssid == "" && s.wifi.password != "" {
		w.mistake("wifi.password", errors.New("there is no wifi.ssid for it"))
	}
	if len(w.mistakes) > harmless {
		s.wifi = wifi{} // the rest would be another network than the one that is meant, an open one perhaps
	}
	t.mistakes = append(t.mistakes, w.mistakes...)
	s.agent = agentSettings{
		token:     t.text("token", func(s string) error { _, err := trust.ParseToken(s); return err }),
		cluster:   t.text("cluster", cluster.ValidateNodeName),
		advertise: t.text("advertise", checkAdvertise),
		vip:       t.text("vip", checkVIP),
	}
	labels := t.table("labels")
	s.agent.labels = map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(labels.all)) {
		value := labels.text(key, func(value string) error { return cluster.ValidateLabels(map[string]string{key: value}) })
		if value != "" {
			s.agent.labels[key] = value
		}
	}
	t.mistakes = append(t.mistakes, labels.mistakes...)
	t.end()
	return s, t.mistakes
}

// explain says where in the file the first mistake is. It quotes nothing of the file: that may be a secret.
func explain(err error) error {
	const all = "nothing in the file was used"
	var at *toml.DecodeError
	if errors.As(err, &at) {
		row, column := at.Position()
		return fmt.Errorf("line %d, column %d is not TOML (is a quote missing?), so %s", row, column, all)
	}
	return fmt.Errorf("it is not TOML, so %s", all)
}

// table is a part of the file that is being read.
type table struct {
	name     string
	all      map[string]any
	known    []string
	mistakes []error
}

func (t *table) full(key string) string {
	if t.name == "" {
		return key
	}
	return t.name + "." + key
}

func (t *table) mistake(setting string, err error) {
	t.mistakes = append(t.mistakes, fmt.Errorf("%s: %w", setting, err))
}

// text returns a setting that is a text, "" if there is none or it does not pass the check.
func (t *table) text(key string, check func(string) error) string {
	t.known = append(t.known, key)
	value, ok := t.all[key]
	if !ok {
		return ""
	}
	text, ok := value.(string)
	if !ok {
		t.mistake(t.full(key), errors.New(`want a text in quotes, such as "value"`))
		return ""
	}
	if text == "" {
		return ""
	}
	if err := check(text); err != nil {
		t.mistake(t.full(key), err)
		return ""
	}
	return text
}

// texts returns a setting that is a list of texts, or one text; without those that do not pass the check.
func (t *table) texts(key string, check func(string) error) (all []string) {
	t.known = append(t.known, key)
	list, ok := t.all[key].([]any)
	if !ok && t.all[key] != nil {
		list = []any{t.all[key]}
	}
	for i, value := range list {
		text, ok := value.(string)
		if !ok {
			t.mistake(t.full(key), fmt.Errorf(`number %d: want a text in quotes`, i+1))
		} else if text == "" {
			continue
		} else if err := check(text); err != nil {
			t.mistake(t.full(key), fmt.Errorf("number %d: %w", i+1, err))
		} else {
			all = append(all, text)
		}
	}
	return all
}

// table returns a setting that is a table, an empty one if there is none.
func (t *table) table(key string) *table {
	t.known = append(t.known, key)
	part := &table{name: t.full(key)}
	value, ok := t.all[key]
	if !ok {
		return part
	}
	if part.all, ok = value.(map[string]any); !ok {
		t.mistake(part.name, fmt.Errorf("want a table: a line [%s], and its settings below", part.name))
	}
	return part
}

// end complains of settings that nobody asked for: a mistyped one is not passed over.
func (t *table) end() {
	for _, key := range slices.Sorted(maps.Keys(t.all)) {
		if !slices.Contains(t.known, key) {
			t.mistake(fmt.Sprintf("%.40q", t.full(key)), fmt.Errorf("there is no such setting: want one of %s", strings.Join(t.known, ", ")))
		}
	}
}

var (
	countryForm  = regexp.MustCompile(`^[A-Z]{2}$`)
	timezoneForm = regexp.MustCompile(`^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$`)
	linkForm     = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)
)

func checkCountry(s string) error {
	if !countryForm.MatchString(s) {
		return errors.New("want two capital letters, such as DE, GB or US")
	}
	return nil
}

func checkTimezone(s string) error {
	if !timezoneForm.MatchString(s) || len(s) > 64 {
		return errors.New("want a name such as Europe/Berlin")
	}
	return nil
}

// checkSSID knows what 802.11 allows: any 1 to 32 bytes.
func checkSSID(s string) error {
	if len(s) > 32 {
		return fmt.Errorf("it has %d bytes, and the name of a Wi-Fi at most 32", len(s))
	}
	return nil
}

// checkPassword knows what WPA allows: 8 to 63 printable ASCII characters. It is a secret, so the error does not quote it.
func checkPassword(s string) error {
	if len(s) < 8 || len(s) > 63 {
		return errors.New("want 8 to 63 characters, as the Wi-Fi's router has it")
	}
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return errors.New("the password of a Wi-Fi has only plain letters, digits and signs (ASCII)")
		}
	}
	return nil
}

func checkAdvertise(s string) error {
	if !linkForm.MatchString(s) {
		return errors.New("want an interface such as eth0, or an address")
	}
	return nil
}

// checkVIP wants what the agent takes for a floating address.
func checkVIP(s string) error {
	if a, err := netip.ParseAddr(s); err != nil || !a.Is4() || !a.IsGlobalUnicast() {
		return errors.New("want an address of your network, such as 192.168.1.250")
	}
	return nil
}

// checkSSHKey wants a public key of OpenSSH's one-line form: a type, then base64 that begins with that type again (RFC
// 4253, 6.6), then a comment. Options in front are not taken: they would be lost on the way through other tools.
func checkSSHKey(s string) error {
	bad := errors.New("want a public key on one line, as in the file id_ed25519.pub on your computer: ssh-ed25519 AAAA… name")
	if strings.Contains(s, "PRIVATE KEY") {
		return errors.New("this is a private key, which must stay on your computer: want the one in the file that ends in .pub")
	}
	fields := strings.Fields(s)
	if len(s) > 16<<10 || strings.ContainsAny(s, "\r\n\x00") || len(fields) < 2 {
		return bad
	}
	raw, err := base64.StdEncoding.DecodeString(fields[1])
	if err != nil || len(raw) < 4 {
		return bad
	}
	n := binary.BigEndian.Uint32(raw)
	if uint64(n) > uint64(len(raw)-4) || string(raw[4:4+n]) != fields[0] || len(raw) == int(4+n) {
		return bad
	}
	return nil
}
