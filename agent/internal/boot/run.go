package boot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// settingsFile and mistakesFile lie in the boot partition.
	settingsFile = "piswarm.toml"
	mistakesFile = "piswarm-errors.txt"
	bootDir      = "boot/firmware" // where Debian mounts it
)

// Config of a Run.
type Config struct {
	Root string // of the system's files: /
	// SetHostname tells the running kernel.
	SetHostname func(string) error
	// Out is where mistakes are printed, for who looks at the screen.
	Out io.Writer
}

// Run carries over what the settings file says. It returns only what keeps the mistakes themselves from being told; a
// mistake is no error of the boot.
func Run(cfg Config) error {
	path := filepath.Join(cfg.Root, bootDir, settingsFile)
	text, err := readFile(path)
	var s settings
	var mistakes []error
	switch {
	case errors.Is(err, fs.ErrNotExist): // the card is as its owner left it
	case err != nil:
		mistakes = []error{err}
	default:
		s, mistakes = parse(text)
	}
	sys := system{root: cfg.Root, setHostname: cfg.SetHostname}
	mistakes = append(mistakes, sys.apply(s)...)
	// Only what is safe in the system, and well formed, goes from here: a mistyped password is still there to be mended.
	if (s.agent.token != "" || s.wifi.password != "") && len(sys.unsaved) == 0 {
		if err := blank(path, text, s); err != nil {
			mistakes = append(mistakes, fmt.Errorf("the secrets are still readable in this file: %w", err))
		}
	}
	for _, m := range mistakes {
		fmt.Fprintf(cfg.Out, "%s: %s\n", settingsFile, oneLine(m))
	}
	return tell(filepath.Join(cfg.Root, bootDir, mistakesFile), mistakes)
}

// readFile reads no more than it needs to see that a file is too large.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read, so nothing in it was used: %w", err)
	}
	return text, nil
}

// blank overwrites in place the secrets that were taken over, where they lie on the card; a new file would leave the old
// bytes there.
func blank(path string, text []byte, s settings) error {
	body := bytes.TrimPrefix(text, []byte("\uFEFF"))
	mark := len(text) - len(body)
	spans := slices.DeleteFunc(secretSpans(body), func(part span) bool { return !s.took(part.secret) })
	after := bytes.Clone(text)
	for _, part := range spans {
		copy(after[mark+part.from:mark+part.to], part.blanked())
	}
	left, _ := parse(after)
	if left.agent.token != "" || left.wifi.password != "" || left.hostname != s.hostname || left.wifi.ssid != s.wifi.ssid {
		return errors.New(`set them to "" by hand`)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for _, part := range spans {
		if _, err := f.WriteAt(part.blanked(), int64(mark+part.from)); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return errors.Join(f.Sync(), f.Close())
}

// tell writes the mistakes for the person who looks at the card on another computer, or removes what is written of earlier
// ones.
func tell(path string, mistakes []error) error {
	if len(mistakes) == 0 {
		err := os.Remove(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = syncDir(filepath.Dir(path))
		}
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Not everything in %s could be used. What is named here stays as it was before:\r\n\r\n", settingsFile)
	for _, m := range mistakes {
		fmt.Fprintf(&b, "- %s\r\n", oneLine(m)) // for the editors of every system
	}
	if old, err := os.ReadFile(path); err == nil && string(old) == b.String() {
		return nil
	}
	if err := writeThrough(path, b.String()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// writeThrough writes a file so that it is on the card before a person pulls the plug to read it. A file of its own and a
// rename, as elsewhere, would leave rests on a file system that knows no better.
func writeThrough(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path)) // of a new file FAT keeps the name back
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// oneLine makes one printable line of a mistake, which may quote what a stranger wrote.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == ' ' || r == 0x7f }), " ")
}
