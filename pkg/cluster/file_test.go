package cluster

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestParseFileRefs(t *testing.T) {
	for _, test := range []struct {
		parse func(string) (FileRef, error)
		text  string
		want  FileRef
	}{
		{ParseSecretRef, "db", FileRef{Name: "db", Target: "/run/secrets/db", Mode: 0o400}},
		{ParseSecretRef, "source=db", FileRef{Name: "db", Target: "/run/secrets/db", Mode: 0o400}},
		{ParseSecretRef, "src=db,target=pw", FileRef{Name: "db", Target: "/run/secrets/pw", Mode: 0o400}},
		{ParseSecretRef, "source=db,target=/etc/app/pw,uid=1000,gid=1001,mode=0440", FileRef{Name: "db", Target: "/etc/app/pw", UID: 1000, GID: 1001, Mode: 0o440}},
		{ParseSecretRef, `source=db,"target=/a,b"`, FileRef{Name: "db", Target: "/a,b", Mode: 0o400}},
		{ParseSecretRef, "source=db,mode=0o600", FileRef{Name: "db", Target: "/run/secrets/db", Mode: 0o600}},
		{ParseConfigRef, "app.conf", FileRef{Name: "app.conf", Target: "/app.conf", Mode: 0o444}},
		{ParseConfigRef, "source=app.conf,target=etc/app.conf", FileRef{Name: "app.conf", Target: "/etc/app.conf", Mode: 0o444}},
	} {
		if got, err := test.parse(test.text); err != nil || got != test.want {
			t.Errorf("%s: %+v, %v; want %+v", test.text, got, err, test.want)
		}
	}
}

func TestBadFileRefs(t *testing.T) {
	for text, words := range map[string]string{
		"":                         "name",
		"a/b":                      "name",
		strings.Repeat("a", 64):    "name",
		"../etc":                   "name",
		"target=/x":                "source is missing",
		"source=a,target=../x":     "path of a file",
		"source=a,target=/":        "path of a file",
		"source=a,target=/etc/":    "path of a file",
		"source=a,target=x\x00":    "path of a file",
		"source=a,source=b":        "twice",
		"source=a,src=b":           "twice",
		"source=a,uid=root":        "want a number",
		"source=a,gid=-1":          "want a number",
		"source=a,uid=4294967295":  "want a number", // (uid_t)-1 leaves the owner as it is
		"source=a,mode=400":        "with the 0 in front",
		"source=a,mode=0":          "with the 0 in front",
		"source=a,mode=04755":      "with the 0 in front",
		"source=a,mode=rw":         "with the 0 in front",
		"source=a,mode=":           "has no value",
		"source=a,readonly":        "has no value",
		"source=a,colour=blue":     "unknown key",
		"source=a,\"target=b":      "comma-separated",
		"source=a\n,target=b":      "comma-separated",
		strings.Repeat("x,=", 999): "has no value",
	} {
		_, err := ParseSecretRef(text)
		checkError(t, err, words)
		_, err = ParseConfigRef(text)
		checkError(t, err, words)
	}
}

func TestFilesOfASpec(t *testing.T) {
	spec := func(change func(*Container)) Spec {
		s := Spec{Name: "web", Replicas: 1, Container: Container{Image: "nginx:1"}}
		change(&s.Container)
		return s.WithDefaults()
	}
	ok := spec(func(c *Container) {
		c.Secrets = []FileRef{{Name: "db"}, {Name: "db", Target: "again"}}
		c.Configs = []FileRef{{Name: "db"}, {Name: "app", Target: "etc/app"}}
	})
	if err := ok.Validate(); err != nil {
		t.Fatal(err)
	}
	if got := ok.Container.Secrets[1].Target + ok.Container.Configs[1].Target; got != "/run/secrets/again/etc/app" {
		t.Errorf("targets %s", got)
	}
	if again := ok.WithDefaults(); !reflect.DeepEqual(again, ok) {
		t.Error("defaults of defaults are others")
	}
	for words, bad := range map[string]Spec{
		"something else has the target /run/secrets/db": spec(func(c *Container) { c.Secrets = []FileRef{{Name: "db"}, {Name: "a", Target: "db"}} }),
		"something else has the target /srv/x": spec(func(c *Container) {
			c.Mounts = []Mount{{Type: MountTmpfs, Target: "/srv/x/"}}
			c.Configs = []FileRef{{Name: "a", Target: "/srv/x"}}
		}),
		"path of a file":  spec(func(c *Container) { c.Secrets = []FileRef{{Name: "db", Target: "a/../../etc/passwd"}} }),
		"not possible":    spec(func(c *Container) { c.Configs = []FileRef{{Name: "db", Mode: 0o1777}} }),
		"bad ID":          spec(func(c *Container) { c.Configs = []FileRef{{Name: "db", ID: strings.Repeat("x", 99)}} }),
		"bad config name": spec(func(c *Container) { c.Configs = []FileRef{{Name: "a b"}} }),
	} {
		checkError(t, bad.Validate(), words)
	}
}

// A service's tasks are replaced for every change of what they find in their files, which includes another secret of the
// same name.
func TestFilesMakeAnotherVersion(t *testing.T) {
	spec := func(refs ...FileRef) Spec {
		return Spec{Name: "web", Container: Container{Image: "nginx:1", Secrets: refs}}.WithDefaults()
	}
	all := []Spec{
		spec(), spec(FileRef{Name: "a"}), spec(FileRef{Name: "a", ID: "1"}), spec(FileRef{Name: "a", ID: "2"}),
		spec(FileRef{Name: "a", Mode: 0o440}), spec(FileRef{Name: "a", UID: 1}), spec(FileRef{Name: "a", Target: "b"}),
	}
	for i, a := range all {
		for j, b := range all {
			if same := i == j; NeedsNewTasks(a, b) == same || (SpecVersion(a) == SpecVersion(b)) != same {
				t.Errorf("specs %d and %d: new tasks %t, versions %d and %d", i, j, NeedsNewTasks(a, b), SpecVersion(a), SpecVersion(b))
			}
		}
	}
}

// A spec without files is stored as it was before there were any, so that its version stays what it is.
func TestNoFilesLeaveNoTrace(t *testing.T) {
	raw, err := json.Marshal(Spec{Container: Container{Image: "nginx:1"}}.WithDefaults())
	if err != nil || strings.Contains(string(raw), "secrets") || strings.Contains(string(raw), "configs") {
		t.Errorf("%s, %v", raw, err)
	}
}

func TestValidateFile(t *testing.T) {
	for _, test := range []struct {
		name   string
		labels map[string]string
		size   int
		words  string // empty: it is accepted
	}{
		{"db.pass_word-1", map[string]string{"a": "b"}, 1, ""},
		{"db", nil, MaxFileSize, ""},
		{"db", nil, MaxFileSize + 1, "larger than 180 KiB"},
		{"db", nil, 0, "empty"},
		{"", nil, 1, "bad secret name"},
		{"a/b", nil, 1, "bad secret name"},
		{"db", map[string]string{"": "b"}, 1, "label"},
	} {
		err := ValidateFile(KindSecret, test.name, test.labels, test.size)
		if test.words == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			continue
		}
		checkError(t, err, test.words)
	}
}

// FuzzFileRef holds that whatever is read can be stored, and reads the same again.
func FuzzFileRef(f *testing.F) {
	for _, s := range []string{"db", "source=db,target=/etc/x,uid=1,gid=2,mode=0444", `source=a,"target=/a,b"`, "src=a,mode=0x1ff", "source=a,target=../b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, k := range []fileKind{secretFiles, configFiles} {
			r, err := k.parse(s)
			if err != nil {
				if len(err.Error()) > 900 || strings.ContainsAny(err.Error(), "\r\n") {
					t.Fatalf("not one readable line: %q", err)
				}
				continue
			}
			if err := k.validate(r); err != nil || k.withDefaults(r) != r {
				t.Fatalf("%q is read as %+v, which is %v", s, r, err)
			}
		}
	})
}
