package discovery

import (
	"strings"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// text is what a node's TXT record says (RFC 6763, 6): KEY=VALUE, each at most 255 bytes. Anyone on the LAN can send
// one, and what is in it ends on people's terminals: so it is letters, digits and a few signs, or it is refused.
// Nothing in it is secret: the cluster's ID is a public name.
type text struct {
	ID      string
	Cluster string // public ID; empty: the node is in no cluster, and waits
	Was     string // IDs that the cluster had under tokens of before, with commas between

	// Of a node that waits alone: a member says these to its cluster.
	Name     string // host name; empty if it has one that no node can have
	Platform string // as in linux/arm/v6
	Version  string // of piswarm
}

const (
	maxTexts   = 16 // of a record: there are fewer keys, and room for those of later versions
	maxID      = 64
	maxVersion = 64
	maxWas     = 200 // sixteen IDs and some
	maxOfParts = 16  // of a platform, each
)

// parseText reads a record, and tells whether a node of piswarm can have written it. Of a key that comes twice the first
// one counts, and a key that this version does not know is passed over, as RFC 6763 (6.4) has it.
func parseText(record []string) (text, bool) {
	if len(record) > maxTexts {
		return text{}, false
	}
	values := map[string]string{}
	for _, s := range record {
		key, value, _ := strings.Cut(s, "=")
		if _, ok := values[key]; !ok {
			values[key] = value
		}
	}
	t := text{ID: values["id"], Cluster: values["cluster"], Was: values["was"], Name: values["name"], Platform: values["platform"], Version: values["version"]}
	ok := isWord(t.ID, maxID, "") &&
		(t.Cluster == "" || isWord(t.Cluster, maxID, "")) &&
		(t.Was == "" || isWord(t.Was, maxWas, ",")) &&
		(t.Name == "" || cluster.ValidateNodeName(t.Name) == nil) &&
		(t.Platform == "" || isPlatform(t.Platform)) &&
		(t.Version == "" || isWord(t.Version, maxVersion, ".-+~_"))
	if !ok {
		return text{}, false
	}
	return t, true
}

// record is the text in the form that travels.
func (t text) record() []string {
	var all []string
	for _, f := range []struct{ key, value string }{
		{"id", t.ID}, {"cluster", t.Cluster}, {"was", t.Was}, {"name", t.Name}, {"platform", t.Platform}, {"version", t.Version},
	} {
		if f.value != "" {
			all = append(all, f.key+"="+f.value)
		}
	}
	return all
}

// isWord tells whether s is 1 to limit letters and digits of ASCII, or one of the other signs.
func isWord(s string, limit int, others string) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for _, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return true
}

func isPlatform(s string) bool {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 {
		return false
	}
	for _, p := range parts {
		if !isWord(p, maxOfParts, "_") {
			return false
		}
	}
	return true
}
