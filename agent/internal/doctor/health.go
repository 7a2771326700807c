package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// throttled are the flags of the Pi's firmware, of now and since boot. Raspberry Pi OS has them in a file.
func (m Machine) throttled() (flags uint64, known bool) {
	flags, err := strconv.ParseUint(m.value("sys/devices/platform/soc/soc:firmware/get_throttled"), 16, 32)
	return flags, err == nil
}

// Bits of the flags: now, and 16 higher since boot.
const (
	underVoltage = 1<<0 | 1<<16
	slowedDown   = 1<<1 | 1<<2 | 1<<3 | 1<<17 | 1<<18 | 1<<19
)

// power looks for under-voltage, of which cards and USB devices die. Kernels other than Raspberry Pi OS's have an alarm
// of the driver raspberrypi-hwmon, which the firmware sets as long as there was any since the last look.
func power(_ context.Context, m Machine) Finding {
	weak := trouble("the power supply is too weak: the voltage was too low",
		"use the power supply made for this Pi and a short, thick cable, and take USB devices off")
	if flags, known := m.throttled(); known {
		if flags&underVoltage != 0 {
			return weak.noted("firmware flags %#x", flags)
		}
		return fine("firmware flags %#x", flags)
	}
	for _, dir := range m.glob("sys/class/hwmon/hwmon*") {
		if m.value(dir+"/name") != "rpi_volt" {
			continue
		}
		if m.value(dir+"/in0_lcrit_alarm") == "1" {
			return weak.noted("alarm of the kernel's rpi_volt")
		}
		return fine("no alarm of the kernel's rpi_volt")
	}
	return fine("this machine does not tell")
}

// tooHot is where a Pi begins to slow down, in thousandths of a degree.
const tooHot = 80_000

func temperature(_ context.Context, m Machine) Finding {
	const problem, fix = "the processor is too hot and slows down", "give it air, a heat sink or a fan"
	degrees, err := strconv.ParseInt(m.value("sys/class/thermal/thermal_zone0/temp"), 10, 64)
	note := "this machine does not tell"
	if err == nil {
		note = fmt.Sprintf("%d °C", degrees/1000)
	}
	// Too little voltage slows it down as well; then that is what is to be mended.
	if flags, known := m.throttled(); known && flags&slowedDown != 0 && flags&underVoltage == 0 || err == nil && degrees >= tooHot {
		return trouble(problem, fix).noted("%s", note)
	}
	return fine("%s", note)
}

// fileSystems looks for those that the kernel has given up writing to, and those that have errors.
func fileSystems(_ context.Context, m Machine) Finding {
	const fix = "save what is not on other nodes, and replace the card"
	mounts, _ := m.read("proc/self/mounts")
	root := "" // of what is mounted over one another, the last counts
	for line := range strings.Lines(mounts) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == "/" {
			root = f[3]
		}
	}
	if root == "ro" || strings.HasPrefix(root, "ro,") {
		return trouble("the root file system is read-only: nothing can be saved", fix)
	}
	for _, path := range m.glob("sys/fs/ext4/*/errors_count") {
		if n := m.value(path); n != "" && n != "0" {
			device := strings.Split(path, "/")[3]
			return trouble("the file system on "+device+" has errors", "have it checked at the next boot (fsck.mode=force in cmdline.txt); if they come back, "+fix).
				noted("%s since it was last checked", n)
		}
	}
	return fine("no errors")
}

// megabyte is what space is told in.
const megabyte = 1 << 20

// diskSpace looks where images and the state are kept. An image needs some hundred megabytes, a small card has 8 GB.
func diskSpace(_ context.Context, m Machine) Finding {
	free, size, err := m.Space(m.path("var/lib"))
	if err != nil {
		return fine("not known: %v", err)
	}
	note := fmt.Sprintf("%d of %d MB free", free/megabyte, size/megabyte)
	if free < 200*megabyte || free < size/20 {
		return trouble("the disk is nearly full: no image can be fetched",
			"remove images that nothing uses (piswarm image rm), old logs (journalctl --vacuum-size=20M) and packages (apt clean)").noted("%s", note)
	}
	return fine("%s", note)
}

func freeMemory(_ context.Context, m Machine) Finding {
	text, _ := m.read("proc/meminfo")
	kilobytes := map[string]uint64{}
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":")
		if f := strings.Fields(rest); len(f) > 0 {
			kilobytes[name], _ = strconv.ParseUint(f[0], 10, 64)
		}
	}
	free, all := kilobytes["MemAvailable"], kilobytes["MemTotal"]
	note := fmt.Sprintf("%d of %d MB free", free>>10, all>>10)
	if all > 0 && free < all/20 {
		return trouble("memory is nearly used up: the kernel will kill processes",
			"limit what services may use (--limit-memory), or move some to other nodes (--constraint)").noted("%s", note)
	}
	return fine("%s", note)
}

// firstYear is the first in which this program can run.
const firstYear = 2024

// clock looks whether the machine knows the time. piswarm needs none, but containers that speak TLS do, and logs.
func clock(_ context.Context, m Machine) Finding {
	now := m.Now().UTC()
	switch {
	case now.Year() < firstYear:
		return trouble("the clock is not set: containers cannot check certificates",
			"apt install systemd-timesyncd, and see that the network lets NTP pass (piswarm itself needs no clock)").
			noted("it says %s", now.Format(minutes))
	case !m.Synchronised():
		return fine("it says %s, and nothing keeps it right", now.Format(minutes))
	}
	return fine("kept right by the network")
}

const minutes = "2006-01-02 15:04 UTC"
