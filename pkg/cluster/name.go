package cluster

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	maxName       = 63 // of a DNS label
	maxLabelKey   = 128
	maxLabelValue = 4096
)

// ValidateServiceName refuses a name that a service cannot have. The name is a DNS name inside containers and
// a part of a key of the replicated state, hence the narrow set of characters.
func ValidateServiceName(name string) error {
	if name == "" {
		return fmt.Errorf("a service needs a name, for example --name web")
	}
	if !isName(name, "_-") {
		return fmt.Errorf("bad service name %q: want letters, digits, - and _, a letter or digit at both ends, at most %d of them, for example web-1", shorten(name), maxName)
	}
	return nil
}

// ValidateNodeName refuses a name that a node cannot have. It is the host name of the machine, which may have
// dots.
func ValidateNodeName(name string) error {
	if name == "" {
		return fmt.Errorf("a node needs a name: set the host name of the machine, for example to pi1")
	}
	if !isName(name, "_-.") {
		return fmt.Errorf("bad node name %q: want letters, digits, -, _ and dots, a letter or digit at both ends, at most %d of them, for example pi1", shorten(name), maxName)
	}
	return nil
}

// ValidateLabelKey refuses a key that a label cannot have. Keys come from many tools (com.example/room,
// tls.domains[0].main), so only what would make --label KEY=VALUE or a constraint on the key ambiguous is out.
func ValidateLabelKey(key string) error {
	if key == "" {
		return fmt.Errorf("a label needs a key, for example room=kitchen")
	}
	ok := len(key) <= maxLabelKey && isAlphanumeric(key[0])
	for i := 0; i < len(key) && ok; i++ {
		ok = key[i] > ' ' && key[i] < 0x7f && !strings.ContainsRune(`=!"',`, rune(key[i]))
	}
	if !ok {
		return fmt.Errorf("bad label key %q: want at most %d visible characters without = ! , and quotes, beginning with a letter or digit, for example room", shorten(key), maxLabelKey)
	}
	return nil
}

// ValidateLabels refuses a set of labels with a bad key or value.
func ValidateLabels(labels map[string]string) error {
	for _, key := range sortedKeys(labels) {
		if err := ValidateLabelKey(key); err != nil {
			return err
		}
		if value := labels[key]; len(value) > maxLabelValue || !isText(value) {
			return fmt.Errorf("bad value of label %s: want at most %d bytes of UTF-8 text", key, maxLabelValue)
		}
	}
	return nil
}

// Validate refuses settings that must not enter the state, naming the first fault.
func (s Settings) Validate() error {
	if err := ValidateNodeName(s.Name); err != nil {
		return err
	}
	switch s.Availability {
	case Active, Pause, Drain:
	default:
		return fmt.Errorf("bad availability %q: want active, pause or drain", shorten(string(s.Availability)))
	}
	switch s.Role {
	case Manager, Worker:
	default:
		return fmt.Errorf("bad role %q: want manager or worker", shorten(string(s.Role)))
	}
	return ValidateLabels(s.Labels)
}

// isName tells whether s is 1 to 63 letters and digits, with the extra characters allowed inside.
func isName(s, extra string) bool {
	if s == "" || len(s) > maxName || !isAlphanumeric(s[0]) || !isAlphanumeric(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && strings.IndexByte(extra, s[i]) < 0 {
			return false
		}
	}
	return true
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// isText tells whether s survives both JSON, which replaces bytes that are no UTF-8, and the kernel, for which
// a NUL ends a string.
func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// shorten keeps an error one readable line however long the input was.
func shorten(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
