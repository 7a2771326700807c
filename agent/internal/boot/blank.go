package boot

import (
	"bytes"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// The secrets are the settings that do not stay in the file.
const (
	token        = "token"
	wifiPassword = "wifi.password"
)

// took tells whether the settings have the secret: one that is mistyped stays in the file, for its author to see.
func (s settings) took(secret string) bool {
	return secret == token && s.agent.token != "" || secret == wifiPassword && s.wifi.password != ""
}

// span is the part of the file that a secret takes, in bytes.
type span struct {
	secret   string
	from, to int
}

// secretSpans finds the values of the secrets in a file that is well formed, quotes included. Empty ones are not among them.
func secretSpans(text []byte) (found []span) {
	var p unstable.Parser
	p.Reset(text)
	var header []string
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			header = keyOf(e)
		case unstable.KeyValue:
			found = append(found, spansOf(&p, header, e)...)
		}
	}
	return found
}

// spansOf looks at one setting and, where it is a table in braces, at those in it.
func spansOf(p *unstable.Parser, header []string, e *unstable.Node) (found []span) {
	path := append(slices.Clone(header), keyOf(e)...)
	value := e.Value()
	switch value.Kind {
	case unstable.InlineTable:
		for inner := value.Children(); inner.Next(); {
			found = append(found, spansOf(p, path, inner.Node())...)
		}
	case unstable.String:
		name := strings.Join(path, ".")
		// A dot within a part of the name, in quotes, is another setting's.
		isSecret := name == token || name == wifiPassword && len(path) == 2
		if isSecret && len(value.Data) > 0 {
			found = append(found, span{name, int(value.Raw.Offset), int(value.Raw.Offset + value.Raw.Length)})
		}
	}
	return found
}

func keyOf(e *unstable.Node) (path []string) {
	for key := e.Key(); key.Next(); {
		path = append(path, string(key.Node().Data))
	}
	return path
}

// blanked is what takes the place of a secret: an empty text, and spaces up to as many bytes.
func (s span) blanked() []byte {
	return append([]byte(`""`), bytes.Repeat([]byte(" "), s.to-s.from-2)...)
}
