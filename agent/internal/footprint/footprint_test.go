package footprint

import (
	"encoding/json"
	"net/http"
	"testing"
)

// TestLetGo: what was only touched once is no longer resident, and the program runs on.
func TestLetGo(t *testing.T) {
	resident := func() (sum int64) {
		all, err := mappings()
		if err != nil {
			t.Fatal(err)
		}
		if len(all) < 2 { // the text and what is only read
			t.Fatalf("mappings %+v", all)
		}
		for _, m := range all {
			if m.written != 0 {
				t.Errorf("%x to %x was written to", m.start, m.end)
			}
			sum += m.resident
		}
		return sum
	}
	use(t)
	before := resident()
	if err := letGo(); err != nil {
		t.Fatal(err)
	}
	after := resident()
	t.Logf("%d KiB of the program were resident, then %d KiB", before>>10, after>>10)
	if after > before*2/3 {
		t.Error("that is hardly less")
	}
	use(t)
}

func use(t *testing.T) {
	var got http.Cookie
	text, err := json.Marshal(http.Cookie{Name: "a", Value: "b"})
	if err == nil {
		err = json.Unmarshal(text, &got)
	}
	if err != nil || got.Value != "b" {
		t.Errorf("%q, %v", got.Value, err)
	}
}
