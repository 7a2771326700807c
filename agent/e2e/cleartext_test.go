package e2e

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// TestClearText: who records the LAN while services, secrets and images are on their way from node to node reads nothing
// of them.
func TestClearText(t *testing.T) {
	const nodeAPIPort = 7947
	marks := map[string]string{
		"a service's name":     "unheard-service-of-mine",
		"an environment value": "unheard-value-of-a-variable",
		"a secret's name":      "unheard-secret-name",
		"a secret":             "unheard-secret-in-a-file",
		"a layer of an image":  "unheard-text-in-a-layer",
		"a label of a node":    "unheard-label-of-a-node",
	}
	const control = "heard-text-of-the-control"
	s := newShelf(t, 3)
	tape := s.record()
	archive, layer := markedImage(t, "marked:1", marks["a layer of an image"])
	if r := s.feed(archive, "pi1", "piswarm", "image", "load"); r.code != 0 {
		t.Fatal(r.err)
	}
	if r := s.feed([]byte(marks["a secret"]), "pi2", "piswarm", "secret", "create", marks["a secret's name"], "-"); r.code != 0 {
		t.Fatal(r.err)
	}
	name := marks["a service's name"]
	s.piswarm("pi1", fmt.Sprintf("create --name %s --mode global --publish 9000:5000 --env MARK=%s --secret %s marked:1",
		name, marks["an environment value"], marks["a secret's name"]))
	s.piswarm("pi2", fmt.Sprintf("create --name %s-2 --replicas 2 --env MARK=%s marked:1", name, marks["an environment value"]))
	s.piswarm("pi3", fmt.Sprintf("scale %s-2=4", name))
	s.piswarm("pi3", "node update --label-add mark="+marks["a label of a node"]+" pi1")
	// What is meant to be read by anyone is heard.
	s.on("laptop", greeter, "get", "1", "http://pi1:9000/"+control) // which the greeter does not have
	time.Sleep(3 * time.Second)                                     // for the state to be compared, too

	texts, carried := tape.texts(nodeAPIPort)
	t.Logf("heard: %d conversations and packets, %.1f MB of the node API", len(texts), float64(carried)/1e6)
	if want := 2 * layer; carried < want {
		t.Errorf("the node API carried %d bytes, want the layer to two nodes, %d", carried, want)
	}
	if !found(texts, control) {
		t.Error("what was said in clear text was not heard: the recorder is deaf")
	}
	for what, mark := range marks {
		if found(texts, mark) {
			t.Errorf("%s was on the LAN in clear text", what)
		}
	}
}

// texts are the contents of all packets, and of each direction of each TCP connection as a whole, and how many bytes of
// them are from or to a port.
func (t *tape) texts(port uint16) (all [][]byte, carried int) {
	flows := map[string]map[uint32][]byte{}
	for _, f := range t.stop() {
		h, ok := parseFrame(f)
		if !ok || h.udp {
			all = append(all, f)
			continue
		}
		if flows[h.flow] == nil {
			flows[h.flow] = map[uint32][]byte{}
		}
		if len(h.body) > 0 {
			if _, again := flows[h.flow][h.seq]; !again && (h.from == port || h.to == port) {
				carried += len(h.body)
			}
			flows[h.flow][h.seq] = h.body
		}
	}
	for _, segments := range flows {
		all = append(all, inOrder(segments))
	}
	return all, carried
}

// found tells whether a text is in one of the others, as it is or in one of the forms that JSON and HTTP give to bytes.
func found(texts [][]byte, mark string) bool {
	forms := []string{mark, strings.ToUpper(mark), hex.EncodeToString([]byte(mark)), strings.ToUpper(hex.EncodeToString([]byte(mark)))}
	for shift := range 3 { // it may begin anywhere in the three bytes that four letters stand for
		for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
			text := encoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + mark))
			forms = append(forms, text[4:len(text)-4])
		}
	}
	for _, text := range texts {
		for _, form := range forms {
			if bytes.Contains(text, []byte(form)) {
				return true
			}
		}
	}
	return false
}

func TestFound(t *testing.T) {
	const mark = "the-mark-is-here"
	for _, text := range []string{
		mark, `{"a":"` + mark + `"}`, base64.StdEncoding.EncodeToString([]byte(mark)), base64.StdEncoding.EncodeToString([]byte("x" + mark)),
		base64.URLEncoding.EncodeToString([]byte("xy" + mark + "z")), hex.EncodeToString([]byte(mark)),
	} {
		if !found([][]byte{[]byte("nothing"), []byte(text)}, mark) {
			t.Errorf("not found in %s", text)
		}
	}
	if found([][]byte{[]byte("nothing"), []byte("the-mark-is-there")}, mark) {
		t.Error("found where it is not")
	}
}

// markedImage is an archive of the greeter with a file full of a text, in a layer that is not compressed, and the size
// of that layer.
func markedImage(t *testing.T, name, mark string) (archive []byte, layer int) {
	t.Helper()
	program, err := os.ReadFile(greeter)
	if err != nil {
		t.Fatal(err)
	}
	pack := func(files ...[2]string) []byte {
		var out bytes.Buffer
		w := tar.NewWriter(&out)
		for _, f := range files {
			err := w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o755, Size: int64(len(f[1])), Typeflag: tar.TypeReg})
			if err == nil {
				_, err = w.Write([]byte(f[1]))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	content := pack([2]string{"greeter", string(program)}, [2]string{"mark", strings.Repeat(mark+"\n", 10_000)})
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Entrypoint": []string{"/greeter"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sha256.Sum256(content))}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return pack([2]string{"config.json", string(config)}, [2]string{"layer.tar", string(content)},
		[2]string{"manifest.json", fmt.Sprintf(`[{"Config":"config.json","RepoTags":[%q],"Layers":["layer.tar"]}]`, name)}), len(content)
}
