package cluster

import (
	"fmt"
	"strings"
)

// ParseSpread reads the value of --placement-pref: spread=node.labels.room. It returns the attribute.
func ParseSpread(s string) (string, error) {
	kind, attr, ok := strings.Cut(s, "=")
	if !ok || strings.TrimSpace(kind) != "spread" {
		return "", fmt.Errorf("bad placement preference %q: want spread=ATTRIBUTE, for example spread=node.labels.room", shorten(s))
	}
	attr = strings.TrimSpace(attr)
	if err := ValidateNodeAttribute(attr); err != nil {
		return "", fmt.Errorf("bad placement preference %q: %w", shorten(s), err)
	}
	return attr, nil
}
