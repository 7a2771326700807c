package trust

import (
	"strings"
	"testing"
)

// FuzzParseToken: a token has one form, but for the case of its letters and white space around it, and no error says
// what the token was.
func FuzzParseToken(f *testing.F) {
	f.Add(Secret{}.Token())
	f.Add(" pswm-1-" + strings.ToUpper(Secret{}.Token()[len(tokenPrefix):]) + "\n")
	f.Add("PSWM-1-aaaaaaaa-" + strings.Repeat("a", 52))
	f.Add("PSWM-1-")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseToken(text)
		if err == nil {
			if !strings.EqualFold(s.Token(), strings.TrimSpace(text)) {
				t.Errorf("%q is the token %s", text, s.Token())
			}
			return
		}
		if middle := len(text) / 2; len(text) > 40 && strings.Contains(err.Error(), text[middle:middle+12]) {
			t.Errorf("%q: the error says some of it: %v", text, err)
		}
	})
}
