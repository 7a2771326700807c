package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/pelletier/go-toml/v2"
)

// genericName is the host name in the image: of a Pi that has none of its own yet.
const genericName = "piswarm"

// system is the Pi's own files.
type system struct {
	root        string
	setHostname func(string) error
	unsaved     []error // secrets that could not be put away
}

func (s *system) path(name string) string { return filepath.Join(s.root, name) }

// apply makes the system be as the settings say, one after the other whatever becomes of the others.
func (s *system) apply(want settings) (mistakes []error) {
	add := func(setting string, err error) {
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w", setting, err))
		}
	}
	add("hostname", s.applyHostname(want.hostname))
	add("timezone", s.applyTimezone(want.timezone))
	if len(want.sshKeys) > 0 {
		add("ssh_keys", s.put("etc/ssh/authorized_keys/pi", strings.Join(want.sshKeys, "\n")+"\n", 0o644))
	}
	if want.wifi.ssid != "" {
		err := s.applyWiFi(want.wifi)
		add("wifi", err)
		s.keep(err)
	}
	if a := want.agent; a.token != "" || a.cluster != "" || a.advertise != "" || a.vip != "" || len(a.labels) > 0 {
		err := s.applyAgent(a)
		add("token, cluster, advertise, vip, labels", err)
		s.keep(err)
	}
	return mistakes
}

func (s *system) keep(err error) {
	if err != nil {
		s.unsaved = append(s.unsaved, err)
	}
}

// applyHostname sets the name; a Pi that was given none goes by its serial number.
func (s *system) applyHostname(name string) error {
	now, err := os.ReadFile(s.path("etc/hostname"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	current := strings.TrimSpace(string(now))
	if name == "" {
		if current != "" && current != genericName {
			return nil
		}
		if name = s.ownName(); name == "" {
			return nil
		}
	}
	hosts, err := os.ReadFile(s.path("etc/hosts"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.put("etc/hosts", ownHost(string(hosts), name), 0o644); err != nil {
		return err
	}
	if current == name {
		return nil
	}
	if err := s.put("etc/hostname", name+"\n", 0o644); err != nil {
		return err
	}
	return s.setHostname(name)
}

// ownName is pi- and the last four digits of the board's serial number, "" where it has none.
func (s *system) ownName() string {
	raw, err := os.ReadFile(s.path("sys/firmware/devicetree/base/serial-number"))
	serial := strings.ToLower(strings.Trim(string(raw), "\x00\n "))
	if err != nil || len(serial) < 4 {
		return ""
	}
	for _, c := range serial {
		if !strings.ContainsRune("0123456789abcdef", c) {
			return ""
		}
	}
	return "pi-" + serial[len(serial)-4:]
}

// ownHost returns /etc/hosts with a line for the machine's own name at 127.0.1.1, as Debian has it.
func ownHost(hosts, name string) string {
	var lines []string
	for line := range strings.Lines(hosts) {
		if fields := strings.Fields(line); len(fields) == 0 || fields[0] != "127.0.1.1" {
			lines = append(lines, strings.TrimRight(line, "\n"))
		}
	}
	return strings.Join(append(lines, "127.0.1.1\t"+name), "\n") + "\n"
}

func (s *system) applyTimezone(name string) error {
	if name == "" {
		return nil
	}
	zone := filepath.Join("/usr/share/zoneinfo", name)
	if info, err := os.Stat(s.path(zone)); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("there is no time zone %s: want a name such as Europe/Berlin", name)
	}
	if now, err := os.Readlink(s.path("etc/localtime")); err == nil && now == zone {
		return nil
	}
	return renameio.Symlink(zone, s.path("etc/localtime"))
}

// agentConfig is the agent's own configuration.
const agentConfig = "etc/piswarm/piswarm.toml"

// applyAgent writes the agent's configuration. What the settings do not say stays as it was: a token that was moved there
// by an earlier boot, above all, and what only the agent knows of.
func (s *system) applyAgent(want agentSettings) error {
	all := map[string]any{}
	old, err := os.ReadFile(s.path(agentConfig))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := toml.Unmarshal(old, &all); err != nil {
		all = map[string]any{} // the agent cannot read it either
	}
	for key, value := range map[string]string{"token": want.token, "cluster": want.cluster, "advertise": want.advertise, "vip": want.vip} {
		if value != "" {
			all[key] = value
		}
	}
	if len(want.labels) > 0 {
		all["labels"] = want.labels
	}
	text, err := toml.Marshal(all)
	if err != nil {
		return err
	}
	return s.put(agentConfig, "# From piswarm.toml in the boot partition, at boot.\n"+string(text), 0o600)
}

// put writes a file as a whole, unless it is so already: a boot without a change writes nothing.
func (s *system) put(name, content string, mode os.FileMode) error {
	path := s.path(name)
	if old, err := os.ReadFile(path); err == nil && string(old) == content {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(path, []byte(content), mode)
}
