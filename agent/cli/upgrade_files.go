package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/piswarm/piswarm/pkg/client"
)

// upgradeFile is a package or a program that a node may get. What it really is, the node finds out.
type upgradeFile struct {
	path    string
	version string // of a package; of a program its SHA-256

	size   int64
	sha256 string
}

// releaseName is what the files of a release are called.
var releaseName = regexp.MustCompile(`^(?:piswarm_([^_]+)_([a-z0-9]+)\.deb|piswarm-(linux-[a-z0-9]+))$`)

// upgradeFiles finds the files of a release in directories and among files, by what they are for.
func upgradeFiles(from []string) (map[string]*upgradeFile, error) {
	var paths []string
	for _, name := range from {
		info, err := os.Stat(name)
		if err != nil {
			return nil, fmt.Errorf("--from: %w", err)
		}
		if !info.IsDir() {
			paths = append(paths, name)
			continue
		}
		entries, err := os.ReadDir(name)
		if err != nil {
			return nil, fmt.Errorf("--from: %w", err)
		}
		for _, e := range entries {
			if releaseName.MatchString(e.Name()) {
				paths = append(paths, filepath.Join(name, e.Name()))
			}
		}
	}
	files := map[string]*upgradeFile{}
	for _, path := range paths {
		parts := releaseName.FindStringSubmatch(filepath.Base(path))
		if parts == nil {
			return nil, fmt.Errorf("--from %s: want the name that it was released with, piswarm_VERSION_ARCHITECTURE.deb or piswarm-linux-ARCHITECTURE", path)
		}
		kind, platform := client.UpgradePackage, parts[2]
		if parts[3] != "" {
			kind, platform = client.UpgradeProgram, parts[3]
		}
		key := fileKey(kind, platform)
		if files[key] != nil {
			return nil, fmt.Errorf("--from: %s and %s are for the same nodes: leave one", files[key].path, path)
		}
		files[key] = &upgradeFile{path: path, version: parts[1]}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("--from %s: there is no piswarm_VERSION_ARCHITECTURE.deb", strings.Join(from, ", "))
	}
	return files, nil
}

func fileKey(kind client.UpgradeKind, platform string) string { return string(kind) + " " + platform }

// fileName is what a file for such a node is called.
func fileName(kind client.UpgradeKind, platform string) string {
	if kind == client.UpgradePackage {
		return "piswarm_VERSION_" + platform + ".deb"
	}
	return "piswarm-" + platform
}

func (f *upgradeFile) name() string { return filepath.Base(f.path) }

// sum reads the file once to know it by.
func (f *upgradeFile) sum() error {
	if f.sha256 != "" {
		return nil
	}
	in, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer in.Close()
	sum := sha256.New()
	if f.size, err = io.Copy(sum, in); err != nil {
		return fmt.Errorf("read %s: %w", f.path, err)
	}
	f.sha256 = hex.EncodeToString(sum.Sum(nil))
	if f.version == "" {
		f.version = f.sha256
	}
	return nil
}
