package trial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// bootLimit is what an emulated Pi, on a machine with other work, may take from the plug to the login screen.
const bootLimit = 15 * time.Minute

// guest is an emulated Pi with a card of its own.
type guest struct {
	t       *testing.T
	b       board
	lan     *lan
	n       int
	name    string // that it must give itself
	card    string
	dir     string
	console string
	qemu    *exec.Cmd
}

// newGuest flashes a card. settings changes what its owner would change in piswarm.toml; nil leaves it.
func newGuest(t *testing.T, l *lan, b board, image string, n int, settings func(string) []byte) *guest {
	t.Helper()
	g := &guest{t: t, b: b, lan: l, n: n, dir: t.TempDir()}
	g.card, g.console = filepath.Join(g.dir, "card"), filepath.Join(g.dir, "console")
	tool(t, "cp", "--sparse=always", image, g.card)
	if err := os.Truncate(g.card, 2<<30); err != nil { // a card has a power of two
		t.Fatal(err)
	}
	for _, name := range []string{"config.txt", "cmdline.txt", "piswarm.toml", b.dtb} {
		g.fetch(name)
	}
	if settings != nil {
		g.put("piswarm.toml", settings(string(g.file("piswarm.toml"))))
	}
	// A board's firmware writes its serial number here.
	g.name = fmt.Sprintf("pi-0b%02x", n)
	tool(t, "fdtput", "-t", "s", filepath.Join(g.dir, b.dtb), "/", "serial-number", fmt.Sprintf("00000000c0de0b%02x", n))
	for _, m := range regexp.MustCompile(`(?m)^(?:kernel=|initramfs )(\S+)$`).FindAllStringSubmatch(string(g.file("config.txt")), -1) {
		g.fetch(m[1])
		kind := "kernel"
		if strings.HasPrefix(m[0], "initramfs") {
			kind = "initramfs"
		}
		if err := os.Rename(filepath.Join(g.dir, m[1]), filepath.Join(g.dir, kind)); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// The boot partition begins at 4 MiB.
func (g *guest) fetch(name string) {
	g.t.Helper()
	tool(g.t, "mcopy", "-n", "-o", "-i", g.card+"@@4M", "::"+name, g.dir)
}

// file is one of the boot partition that was fetched.
func (g *guest) file(name string) []byte {
	g.t.Helper()
	raw, err := os.ReadFile(filepath.Join(g.dir, name))
	if err != nil {
		g.t.Fatal(err)
	}
	return raw
}

func (g *guest) put(name string, content []byte) {
	g.t.Helper()
	path := filepath.Join(g.dir, "put")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		g.t.Fatal(err)
	}
	tool(g.t, "mcopy", "-o", "-i", g.card+"@@4M", path, "::"+name)
}

// powerOn plugs it in.
func (g *guest) powerOn() {
	g.t.Helper()
	serial := []string{"-serial", "file:" + g.console}
	if g.b.console == "second" {
		serial = append([]string{"-serial", "null"}, serial...)
	}
	args := append([]string{}, g.b.qemu...)
	args = append(args,
		"-display", "none", "-monitor", "stdio", "-no-reboot",
		"-kernel", filepath.Join(g.dir, "kernel"), "-initrd", filepath.Join(g.dir, "initramfs"), "-dtb", filepath.Join(g.dir, g.b.dtb),
		"-append", strings.TrimSpace(string(g.file("cmdline.txt")))+" "+g.b.kernelArgs+" "+onlyEthernet,
		"-drive", "file="+g.card+",if=sd,format=raw",
		"-netdev", fmt.Sprintf("tap,id=lan,ifname=tap%d,script=no,downscript=no", g.n), "-device", "usb-net,netdev=lan,mac="+mac(g.n))
	args = append(args, serial...)
	g.qemu = g.lan.command(context.Background(), args...)
	log, err := os.Create(filepath.Join(g.dir, "qemu"))
	if err != nil {
		g.t.Fatal(err)
	}
	defer log.Close()
	g.qemu.Stdout, g.qemu.Stderr = log, log
	monitor, err := g.qemu.StdinPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	if err := g.qemu.Start(); err != nil {
		g.t.Fatal(err)
	}
	go nudge(monitor)
	g.t.Cleanup(func() {
		g.powerOff()
		if g.t.Failed() {
			g.t.Logf("what %s printed last:\n%s", g.name, tail(g.printed(), 6000))
		}
	})
}

// nudge keeps an emulated Pi's time going until QEMU ends. Where its time is that of its instructions and it has nothing to do,
// QEMU now and then forgets to let it pass (main_loop_wait: "CPU thread can infinitely wait for event after missing the
// warp"), and remembers when anything happens, as an empty line from its user.
func nudge(monitor io.WriteCloser) {
	defer monitor.Close()
	for {
		if _, err := monitor.Write([]byte("\n")); err != nil {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// powerOff pulls the plug.
func (g *guest) powerOff() {
	if g.qemu != nil {
		stop(g.qemu)
		g.qemu = nil
	}
}

func (g *guest) printed() string {
	raw, err := os.ReadFile(g.console)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// awaitPrinted waits until the console has shown it.
func (g *guest) awaitPrinted(what, pattern string) {
	g.t.Helper()
	form := regexp.MustCompile(pattern)
	within(g.t, bootLimit, g.name+": "+what, func() error {
		if !form.MatchString(g.printed()) {
			return errors.New("the console has not shown it")
		}
		return nil
	})
}

// run runs a script on the Pi as its owner, by ssh.
func (g *guest) run(script string) (string, error) { return g.feed(nil, script) }

// feed gives the script a standard input.
func (g *guest) feed(stdin []byte, script string) (string, error) {
	ctx, cancel := context.WithTimeout(g.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := g.lan.command(ctx, "ssh", "-i", filepath.Join(g.lan.dir, "key"), "-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=30",
		"-o", "StrictHostKeyChecking=accept-new", "-o", "UserKnownHostsFile="+filepath.Join(g.dir, "known"), "-o", "LogLevel=ERROR",
		"pi@"+address(g.n), script)
	cmd.Stdin = bytes.NewReader(stdin)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w: %s%s", g.name, script, err, out, errs.String())
	}
	return string(out), nil
}

// must is run that has to succeed.
func (g *guest) must(script string) string {
	g.t.Helper()
	out, err := g.run(script)
	if err != nil {
		g.t.Fatal(err)
	}
	return out
}
