package doctor

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// cardTrouble are the lines of the kernel's log that a dying card leaves.
var cardTrouble = regexp.MustCompile(`mmc\d+: .*(error|timeout|timed out)|I/O error.* (dev )?mmcblk\d|mmcblk\d.*: (error|timed out)|EXT4-fs error|EXT4-fs .*remounting filesystem read-only`)

const (
	// maxRecord is the longest record that the kernel gives out, and maxRecords more than its log holds.
	maxRecord  = 8 << 10
	maxRecords = 100_000
)

// card looks for errors of the SD card in the kernel's log.
func card(ctx context.Context, m Machine) Finding {
	fd, err := unix.Open(m.path("dev/kmsg"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		if !m.Privileged {
			return fine("not looked at: needs root")
		}
		return fine("there is no log of the kernel's: %v", err)
	}
	defer unix.Close(fd)
	buf := make([]byte, maxRecord)
	found, last := 0, ""
	for range maxRecords {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.EINTR) {
			continue // records were dropped before they could be read
		}
		// The end of the log is an error (EAGAIN), because the device would wait for the next record there.
		if n <= 0 || err != nil || ctx.Err() != nil {
			break
		}
		// A record is "priority,number,time,flags;text", and then lines of details.
		for line := range strings.Lines(string(buf[:n])) {
			_, text, ok := strings.Cut(line, ";")
			if ok && cardTrouble.MatchString(text) {
				found, last = found+1, strings.TrimSpace(text)
			}
		}
	}
	if found > 0 {
		return trouble("the SD card has errors", "save what is not on other nodes, and replace the card").
			noted("%s, the last: %s", lines(found), last)
	}
	return fine("no errors in the kernel's log")
}

// swap looks for swap space on the card: it wears the card out, and what was in memory alone, secrets for instance, can be
// read on the card for years.
func swap(_ context.Context, m Machine) Finding {
	text, _ := m.read("proc/swaps") // which is missing where the kernel cannot swap
	found := "there is none"
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] == "Filename" {
			continue
		}
		if !strings.HasPrefix(fields[0], "/dev/zram") {
			return trouble("memory is swapped to the disk", "swapoff "+fields[0]+", and see that it stays off (dphys-swapfile, /etc/fstab); zram is kind to the card").
				noted("%s, a %s", fields[0], fields[1])
		}
		found = "in memory, by zram"
	}
	return fine("%s", found)
}

func lines(n int) string {
	if n == 1 {
		return "1 line in the kernel's log"
	}
	return fmt.Sprintf("%d lines in the kernel's log", n)
}
