package boot

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strings"
)

const wifiConfig = "etc/wpa_supplicant/wpa_supplicant-wlan0.conf"

// applyWiFi writes the configuration of wpa_supplicant(8). The name goes there as hexadecimal digits, which have no quotes
// to escape, and the password as the key that is made of it and the name (IEEE 802.11, J.4: PBKDF2 with HMAC-SHA1, 4096
// rounds, 256 bits): it opens this network and is not the password, which may be used elsewhere, too. A network that has
// WPA3 alone wants the password itself and cannot be joined; no Pi before the 3B+ could.
func (s *system) applyWiFi(w wifi) error {
	before, err := os.ReadFile(s.path(wifiConfig))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	name := hex.EncodeToString([]byte(w.ssid))
	key := "key_mgmt=NONE"
	switch {
	case w.password != "":
		raw, err := pbkdf2.Key(sha1.New, w.password, []byte(w.ssid), 4096, 32)
		if err != nil {
			return fmt.Errorf("password: %w", err)
		}
		key = "psk=" + hex.EncodeToString(raw)
	default:
		if moved, found := keyFor(string(before), name); found {
			key = moved // the password was moved here by an earlier boot
		}
	}
	country := countryLine.FindString(string(before))
	if w.country != "" {
		country = "country=" + w.country + "\n"
	}
	return s.put(wifiConfig, "# From piswarm.toml in the boot partition, at boot.\nctrl_interface=/run/wpa_supplicant\n"+
		country+"network={\n\tssid="+name+"\n\tscan_ssid=1\n\t"+key+"\n}\n", 0o600)
}

var countryLine = regexp.MustCompile(`(?m)^country=[A-Z]{2}\n`)

// keyFor returns the line of the key in a file of ours for the network of that name.
func keyFor(file, name string) (key string, ok bool) {
	same := false
	for line := range strings.Lines(file) {
		line = strings.TrimSpace(line)
		same = same || line == "ssid="+name
		if same && strings.HasPrefix(line, "psk=") {
			return line, true
		}
	}
	return "", false
}
