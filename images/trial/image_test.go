package trial

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// tool runs a program that must succeed, and returns what it prints.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	if p, err := exec.LookPath(name); err != nil {
		cmd.Path, cmd.Err = filepath.Join("/usr/sbin", name), nil
	} else {
		cmd.Path = p
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, errs.String())
	}
	return string(out)
}

const mebi = 1 << 20

// partitions cuts the image into its two file systems.
func partitions(t *testing.T, image string) (boot, root string) {
	t.Helper()
	var table struct {
		PartitionTable struct {
			Label      string
			Sectorsize int64
			Partitions []struct {
				Start, Size int64
				Type        string
				Bootable    bool
			}
		}
	}
	if err := json.Unmarshal([]byte(tool(t, "sfdisk", "--json", image)), &table); err != nil {
		t.Fatal(err)
	}
	p := table.PartitionTable
	if p.Label != "dos" || p.Sectorsize != 512 || len(p.Partitions) != 2 {
		t.Fatalf("partition table: %+v", p)
	}
	info, err := os.Stat(image)
	if err != nil {
		t.Fatal(err)
	}
	b, r := p.Partitions[0], p.Partitions[1]
	if b.Type != "c" || !b.Bootable || b.Start*512 != 4*mebi || b.Size*512 != 256*mebi {
		t.Errorf("boot partition: %+v", b)
	}
	if r.Type != "83" || r.Start != b.Start+b.Size || (r.Start+r.Size)*512 != info.Size() {
		t.Errorf("root partition: %+v, in %d bytes", r, info.Size())
	}
	dir := t.TempDir()
	boot, root = filepath.Join(dir, "boot"), filepath.Join(dir, "root")
	for i, to := range []string{boot, root} {
		at := p.Partitions[i]
		tool(t, "dd", "if="+image, "of="+to, "bs=1M", "conv=sparse", fmt.Sprintf("skip=%d", at.Start*512/mebi), fmt.Sprintf("count=%d", at.Size*512/mebi))
	}
	return boot, root
}

// TestImage reads the finished image, as the firmware of the board will.
func TestImage(t *testing.T) {
	b, image := theBoard(t)
	boot, root := partitions(t, image)
	tool(t, "fsck.vfat", "-n", boot)
	tool(t, "e2fsck", "-f", "-n", root)
	tool(t, "sh", "-c", "cd ../../build && sha256sum --check piswarm-"+b.name+".img.xz.sha256")

	files := filepath.Join(t.TempDir(), "files")
	if err := os.Mkdir(files, 0o755); err != nil {
		t.Fatal(err)
	}
	tool(t, "mcopy", "-i", boot, "-s", "-n", "::", files)
	text := func(name string) string {
		raw, err := os.ReadFile(filepath.Join(files, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	wanted := slices.Concat(b.firmware, b.dtbs)
	config := text("config.txt")
	for _, key := range []string{"kernel=", "initramfs "} {
		m := regexp.MustCompile(`(?m)^` + key + `(\S+)$`).FindStringSubmatch(config)
		if m == nil {
			t.Fatalf("no %s in config.txt:\n%s", key, config)
		}
		wanted = append(wanted, m[1])
	}
	for _, name := range wanted {
		if info, err := os.Stat(filepath.Join(files, name)); err != nil || info.Size() < 1000 {
			t.Errorf("%s: %v, %+v", name, err, info)
		}
	}
	for _, line := range append([]string{"upstream_kernel=1", "enable_uart=1", "gpu_mem=16"}, b.config...) {
		if !strings.Contains("\n"+config, "\n"+line+"\n") {
			t.Errorf("no %s in config.txt:\n%s", line, config)
		}
	}
	line := text("cmdline.txt")
	for _, word := range []string{"root=LABEL=PISWARM", "rootwait", "cgroup_enable=memory", "console=tty0", "rw"} {
		if !slices.Contains(strings.Fields(line), word) {
			t.Errorf("no %s in cmdline.txt: %s", word, line)
		}
	}
	if strings.Count(strings.TrimSpace(line), "\n") != 0 {
		t.Errorf("cmdline.txt has several lines: %q", line)
	}
	if !regexp.MustCompile(`(?m)^token = "(PSWM-1-[a-z0-9]+-[a-z0-9]+)?"$`).MatchString(text("piswarm.toml")) {
		t.Errorf("no token in piswarm.toml:\n%s", text("piswarm.toml"))
	}
	for name, want := range map[string]string{"PISWARMBOOT": tool(t, "blkid", "-o", "value", "-s", "LABEL", boot), "PISWARM": tool(t, "blkid", "-o", "value", "-s", "LABEL", root)} {
		if strings.TrimSpace(want) != name {
			t.Errorf("label %q, want %s", want, name)
		}
	}
	// What each Pi must make for itself, and nobody may know.
	ls := tool(t, "debugfs", "-R", "ls -p /etc/ssh", root)
	if strings.Contains(ls, "ssh_host_") {
		t.Errorf("ssh keys of every Pi:\n%s", ls)
	}
	if id := tool(t, "debugfs", "-R", "cat /etc/machine-id", root); id != "" {
		t.Errorf("every Pi's machine-id: %q", id)
	}
	for account := range strings.Lines(tool(t, "debugfs", "-R", "cat /etc/shadow", root)) {
		if field := strings.Split(account, ":"); len(field) < 2 || !strings.HasPrefix(field[1], "!") && field[1] != "*" {
			t.Errorf("an account with a password: %s", account)
		}
	}
}
