package dockerapi

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var updateGolden = flag.Bool("update", false, "write the answers that come out into testdata")

// The shape of each answer, as clients of docker's read it.
func TestGolden(t *testing.T) {
	_, h := start(t)
	for name, path := range map[string]string{
		"version": "/version", "info": "/info", "swarm": "/swarm", "nodes": "/nodes", "node": "/nodes/pi1",
		"services": "/services?status=true", "service": "/services/greeters", "tasks": "/tasks", "task": "/tasks/" + taskTwo,
		"containers": "/containers/json?all=1", "container": "/containers/greeters.1." + taskOne + "/json",
		"images": "/images/json", "image": "/images/greeter/json", "distribution": "/distribution/web/json",
		"networks": "/networks", "network": "/networks/back", "volumes": "/volumes", "volume": "/volumes/data",
		"secrets": "/secrets", "secret": "/secrets/db", "configs": "/configs", "config": "/configs/app",
		"stats": "/containers/greeters.1." + taskOne + "/stats?stream=0&one-shot=1",
	} {
		status, answer := call(h, "GET", path, "")
		if status != 200 {
			t.Errorf("GET %s: %d %s", path, status, answer)
			continue
		}
		var got bytes.Buffer
		if err := json.Indent(&got, []byte(answer), "", "\t"); err != nil {
			t.Errorf("GET %s: %v: %s", path, err, answer)
			continue
		}
		got.WriteByte('\n')
		file := filepath.Join("testdata", "golden", name+".json")
		text := moving.ReplaceAll(got.Bytes(), []byte(`$1 …"`))
		if *updateGolden {
			if err := os.WriteFile(file, text, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(text, want) {
			t.Errorf("GET %s: not as in %s (-update writes it anew):\n%s", path, file, text)
		}
	}
}

// moving are values that are another one each time.
var moving = regexp.MustCompile(`("SystemTime":|"read":|"system_cpu_usage":|"NGoroutines":|"Status": "Up|"Status": "Exited \(3\)) ?[^,\n]*`)
