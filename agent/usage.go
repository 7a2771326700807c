package agent

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/piswarm/piswarm/pkg/client"
)

// userHZ is the unit of /proc/stat: hundredths of a second, on every Linux that Go runs on.
const userHZ = 100

// usage reads what this node uses, now: nothing is counted while nobody asks.
func (m *machine) usage() client.NodeStats {
	n := client.NodeStats{CPUs: runtime.NumCPU()}
	n.CPUNanos = busyNanos(readFile("/proc/stat"))
	n.MemoryTotal, n.MemoryBytes = memoryUse(readFile("/proc/meminfo"))
	if fields := strings.Fields(readFile("/proc/loadavg")); len(fields) > 0 {
		n.Load, _ = strconv.ParseFloat(fields[0], 64)
	}
	if fields := strings.Fields(readFile("/proc/uptime")); len(fields) > 0 {
		seconds, _ := strconv.ParseFloat(fields[0], 64)
		n.UptimeSeconds = uint64(seconds)
	}
	if milli, err := strconv.ParseInt(strings.TrimSpace(readFile("/sys/class/thermal/thermal_zone0/temp")), 10, 64); err == nil {
		n.Temperature = float64(milli) / 1000
	}
	return n
}

// readFile is empty where there is no such file: not every machine tells everything.
func readFile(path string) string {
	raw, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(raw)
}

// busyNanos is the time that all processors have worked, from the first line of /proc/stat: user nice system idle iowait
// irq softirq steal ….
func busyNanos(stat string) uint64 {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0
	}
	var busy uint64
	for i, field := range fields[1:min(len(fields), 8)] {
		if i == 3 || i == 4 { // idle, and idle until a disk answers
			continue
		}
		n, _ := strconv.ParseUint(field, 10, 64)
		busy += n
	}
	return busy * (1e9 / userHZ)
}

// memoryUse reads how much memory there is, and how much of it is not available to who asks for some.
func memoryUse(meminfo string) (total, used uint64) {
	value := func(line string) uint64 {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			return 0
		}
		n, _ := strconv.ParseUint(fields[1], 10, 64)
		return n << 10
	}
	var available uint64
	for line := range strings.Lines(meminfo) {
		switch {
		case strings.HasPrefix(line, "MemTotal:"):
			total = value(line)
		case strings.HasPrefix(line, "MemAvailable:"):
			available = value(line)
		}
	}
	return total, total - min(available, total)
}
