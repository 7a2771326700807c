package cluster

import (
	"encoding/csv"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Head is what may be shown of a secret or a config. Neither ever changes: who wants another value makes another one, and
// has the services that use it updated, so that each of their tasks runs with a value that is known.
type Head struct {
	// ID tells it from an earlier one of the same name.
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels,omitempty"`
	CreatedAt time.Time         `json:"createdAt"` // for people
}

// Secret is a value that containers read as a file and that is nowhere else in clear. It is the value of a
// secret/<name> record.
type Secret struct {
	Head
	Sealed []byte `json:"sealed"` // with a key that members alone can make
}

// Config is a value that containers read as a file, and the value of a config/<name> record.
type Config struct {
	Head
	Data []byte `json:"data"`
}

// MaxFileSize is the most bytes that a secret or a config may have. A record of the state holds 256 KiB, and base64 and
// the labels want their part of it.
const MaxFileSize = 180 << 10

// ValidateFile refuses what cannot become a secret or a config, whichever kind says.
func ValidateFile(kind, name string, labels map[string]string, size int) error {
	if err := ValidateFileName(kind, name); err != nil {
		return err
	}
	if err := ValidateLabels(labels); err != nil {
		return fmt.Errorf("%s %s: %w", kind, name, err)
	}
	switch {
	case size == 0:
		return fmt.Errorf("%s %s: it is empty: want 1 byte to %d KiB", kind, name, MaxFileSize>>10)
	case size > MaxFileSize:
		return fmt.Errorf("%s %s: it is larger than %d KiB, the most that every node keeps a copy of: put what is larger into the image or a volume", kind, name, MaxFileSize>>10)
	}
	return nil
}

// ValidateFileName refuses a name that a secret or a config cannot have. It is part of a key of the state and, by
// default, the name of a file.
func ValidateFileName(kind, name string) error {
	if !isName(name, "_-.") {
		return fmt.Errorf("bad %s name %q: want letters, digits, -, _ and dots, a letter or digit at both ends, at most %d of them, for example db-password", kind, shorten(name), maxName)
	}
	return nil
}

// FileRef says where a container sees a secret or a config.
type FileRef struct {
	Name string `json:"name"`
	// ID is that of the secret or config meant. An empty one passes, so that a spec can be checked before it is looked up.
	ID     string   `json:"id,omitempty"`
	Target string   `json:"target"` // absolute path in the container
	UID    uint32   `json:"uid,omitempty"`
	GID    uint32   `json:"gid,omitempty"`
	Mode   FileMode `json:"mode"`
}

// FileMode is the permission bits of a file. As JSON it is a number, as docker's is.
type FileMode uint32

func (m FileMode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// fileKind is what differs between secrets and configs: where a name without a path lies in the container, and who
// reads it by default.
type fileKind struct {
	kind, dir string
	mode      FileMode
}

var (
	secretFiles = fileKind{KindSecret, "/run/secrets", 0o400}
	configFiles = fileKind{KindConfig, "/", 0o444}
)

// ParseSecretRef reads the value of --secret: NAME, or docker's long form, for example
// source=db-password,target=/etc/db.pw,uid=1000,gid=1000,mode=0400.
func ParseSecretRef(s string) (FileRef, error) { return secretFiles.parse(s) }

// ParseConfigRef reads the value of --config, in the same forms.
func ParseConfigRef(s string) (FileRef, error) { return configFiles.parse(s) }

func (k fileKind) parse(s string) (FileRef, error) {
	r, err := k.read(s)
	if err == nil {
		if err := ValidateFileName(k.kind, r.Name); err != nil {
			return FileRef{}, err
		}
		r = k.withDefaults(r)
		err = k.validate(r)
	}
	if err != nil {
		return FileRef{}, fmt.Errorf("bad %s %q: %w", k.kind, shorten(s), err)
	}
	return r, nil
}

const refExample = "for example source=db,target=/etc/db.pw,uid=1000,mode=0400"

func (k fileKind) read(s string) (FileRef, error) {
	if !strings.ContainsAny(s, "=,") {
		return FileRef{Name: s}, nil
	}
	// docker reads the value as a line of CSV, so that a path with a comma can be quoted.
	fields, err := csv.NewReader(strings.NewReader(s)).Read()
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return FileRef{}, fmt.Errorf("not a comma-separated list of KEY=VALUE, %s", refExample)
	}
	var r FileRef
	seen := map[string]bool{}
	for _, field := range fields {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		key := strings.ToLower(name)
		if key == "src" {
			key = "source"
		}
		if seen[key] {
			return FileRef{}, fmt.Errorf("%s is given twice", key)
		}
		seen[key] = true
		if value == "" {
			return FileRef{}, fmt.Errorf("%s has no value, %s", shorten(name), refExample)
		}
		switch key {
		case "source":
			r.Name = value
		case "target":
			r.Target = value
		case "uid":
			r.UID, err = parseOwner(key, value)
		case "gid":
			r.GID, err = parseOwner(key, value)
		case "mode":
			r.Mode, err = parseFileMode(value)
		default:
			err = fmt.Errorf("unknown key %q: want source, target, uid, gid and mode, %s", shorten(name), refExample)
		}
		if err != nil {
			return FileRef{}, err
		}
	}
	if r.Name == "" {
		return FileRef{}, fmt.Errorf("source is missing, %s", refExample)
	}
	return r, nil
}

func parseOwner(key, value string) (uint32, error) {
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%s=%s: want a number, since names are the image's, for example %s=1000", key, shorten(value), key)
	}
	return uint32(n), nil
}

// parseFileMode wants the 0 in front that makes a number octal. docker takes 400 for a decimal number, which hardly anybody
// means.
func parseFileMode(value string) (FileMode, error) {
	n, err := strconv.ParseUint(value, 0, 32)
	if err != nil || value[0] != '0' || n == 0 || n > 0o777 {
		return 0, fmt.Errorf("mode=%s: want an octal number from 0001 to 0777, with the 0 in front, for example mode=0400", shorten(value))
	}
	return FileMode(n), nil
}

func (k fileKind) withDefaults(r FileRef) FileRef {
	if r.Target == "" {
		r.Target = r.Name
	}
	if !path.IsAbs(r.Target) && !slices.Contains(strings.Split(r.Target, "/"), "..") { // one that is left so is refused
		r.Target = path.Join(k.dir, r.Target)
	}
	if r.Mode == 0 {
		r.Mode = k.mode
	}
	return r
}

func (k fileKind) validate(r FileRef) error {
	if err := ValidateFileName(k.kind, r.Name); err != nil {
		return err
	}
	if !path.IsAbs(r.Target) || path.Clean(r.Target) == "/" || strings.HasSuffix(r.Target, "/") || !isText(r.Target) {
		return fmt.Errorf("target %q must be the path of a file, below %s or absolute, %s", shorten(r.Target), k.dir, refExample)
	}
	if r.Mode == 0 || r.Mode > 0o777 {
		return fmt.Errorf("mode %s is not possible: want 0001 to 0777, %s", r.Mode, refExample)
	}
	if !isText(r.ID) || len(r.ID) > maxName {
		return fmt.Errorf("bad ID %q of %s", shorten(r.ID), r.Name)
	}
	return nil
}

// each returns references with their defaults, in a list of its own.
func (k fileKind) each(refs []FileRef) []FileRef {
	refs = slices.Clone(refs)
	for i, r := range refs {
		refs[i] = k.withDefaults(r)
	}
	return refs
}

// Files yields each secret and config that the container reads, by which of the two kinds it is. What is yielded may be
// changed.
func (c Container) Files(yield func(kind string, ref *FileRef) bool) {
	for _, list := range []struct {
		kind string
		refs []FileRef
	}{{KindSecret, c.Secrets}, {KindConfig, c.Configs}} {
		for i := range list.refs {
			if !yield(list.kind, &list.refs[i]) {
				return
			}
		}
	}
}

// validateFiles also holds that no file hides another one or a mount.
func (c Container) validateFiles() error {
	taken := map[string]bool{}
	for _, m := range c.Mounts {
		taken[path.Clean(m.Target)] = true
	}
	for kind, r := range c.Files {
		check := secretFiles
		if kind == KindConfig {
			check = configFiles
		}
		if err := check.validate(*r); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		if t := path.Clean(r.Target); taken[t] {
			return fmt.Errorf("%s %s: something else has the target %s already: give each its own, with target=…", kind, r.Name, shorten(t))
		} else {
			taken[t] = true
		}
	}
	return nil
}
