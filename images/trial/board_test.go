package trial

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var boardName = flag.String("board", "", "the `board` whose image in build/ is tried: zero, pi2 or pi3")

// board is what a board needs to start, by its own firmware and in QEMU.
type board struct {
	name string
	// firmware and dtbs are files of the boot partition, kernelArch what config.txt says of the processor.
	firmware, dtbs []string
	config         []string
	// qemu emulates one of the boards, which has that of the dtbs; there is no such machine for some.
	qemu []string
	dtb  string
	// kernelArgs follow the image's own ones. The last console is the one on which the boot speaks.
	kernelArgs string
	console    string // where on QEMU's command line the serial line is that kernelArgs name
}

// bare is the firmware of every board with less than a Pi 4 on it; gpu_mem=16 makes it the cut-down one.
var bare = []string{"bootcode.bin", "start.elf", "fixup.dat", "start_cd.elf", "fixup_cd.dat"}

// noWatchdog leaves out a driver: QEMU's watchdog resets the board at once when it is switched on.
const noWatchdog = "initcall_blacklist=bcm2835_wdt_driver_init"

// onlyEthernet leaves out a driver that takes QEMU's USB network for another kind, which has no address of its own.
const onlyEthernet = "module_blacklist=cdc_subset"

var boards = map[string]board{
	"zero": {
		firmware: bare,
		dtbs:     []string{"bcm2835-rpi-zero.dtb", "bcm2835-rpi-zero-w.dtb", "bcm2835-rpi-b.dtb", "bcm2835-rpi-b-plus.dtb"},
		// Its only timer rings when a counter has the value that is asked for. Where the processor was taken from QEMU while
		// Linux worked that out, the value has passed, and the Pi stands still for 71 minutes. So time is that of the
		// instructions, of which it has 500 million a second, about as many as the real one.
		qemu: []string{"qemu-system-arm", "-M", "raspi0", "-icount", "shift=1"},
		dtb:  "bcm2835-rpi-zero.dtb",
		// QEMU's board lacks what this driver asks for, and the kernel then dies without a word.
		kernelArgs: "initcall_blacklist=bcm2835_power_driver_init,bcm2835_wdt_driver_init console=ttyAMA0,115200",
	},
	"pi2": {
		firmware:   bare,
		dtbs:       []string{"bcm2836-rpi-2-b.dtb"},
		qemu:       []string{"qemu-system-arm", "-M", "raspi2b"},
		dtb:        "bcm2836-rpi-2-b.dtb",
		kernelArgs: noWatchdog + " console=ttyAMA0,115200",
	},
	"pi3": {
		firmware: append([]string{"start4.elf", "fixup4.dat", "start4cd.elf", "fixup4cd.dat"}, bare...),
		dtbs: []string{
			"bcm2837-rpi-3-b.dtb", "bcm2837-rpi-3-b-plus.dtb", "bcm2837-rpi-3-a-plus.dtb", "bcm2837-rpi-zero-2-w.dtb",
			"bcm2711-rpi-4-b.dtb", "bcm2711-rpi-400.dtb",
		},
		config: []string{"arm_64bit=1"},
		// With time of its own each of its four processors may fall behind, and its USB then loses what is plugged in.
		qemu: []string{"qemu-system-aarch64", "-M", "raspi3b", "-icount", "shift=1"},
		dtb:  "bcm2837-rpi-3-b.dtb",
		// Bluetooth has the first serial line.
		kernelArgs: noWatchdog + " console=ttyS1,115200",
		console:    "second",
	},
}

// theBoard is the one that was asked for, and its image.
func theBoard(t *testing.T) (b board, image string) {
	t.Helper()
	b, ok := boards[*boardName]
	if !ok {
		t.Fatalf("no board %q: run this by make test-image BOARD=zero", *boardName)
	}
	b.name = *boardName
	image, err := filepath.Abs("../../build/piswarm-" + b.name + ".img")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(image); err != nil {
		t.Fatalf("%v: make image BOARD=%s builds it", err, b.name)
	}
	return b, image
}
