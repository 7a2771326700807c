package main

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// The program that is at hand is the test itself.
func TestBillOfMaterials(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var once, twice bytes.Buffer
	for _, w := range []*bytes.Buffer{&once, &twice} {
		if err := run(w, "v1", self); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(once.Bytes(), twice.Bytes()) {
		t.Error("one program, two bills")
	}
	var b bom
	if err := json.Unmarshal(once.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	if p := b.Metadata.Component; b.Format != "CycloneDX" || p.Version != "v1" || len(p.Hashes) != 1 || len(p.Hashes[0].Content) != 64 {
		t.Errorf("%+v", b)
	}
	if n := len(b.Components); n == 0 || b.Components[n-1].Name != "std" || !strings.HasPrefix(b.Components[n-1].PURL, "pkg:golang/std@1.") {
		t.Errorf("components %+v", b.Components)
	}
	if err := run(&once, "v1", "/etc/passwd"); err == nil {
		t.Error("a file that is no program has a bill")
	}
}
