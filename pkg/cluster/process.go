package cluster

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ParseEnv reads the value of --env: NAME=value, or NAME alone, whose value lookup gives (on the command line,
// os.LookupEnv).
func ParseEnv(s string, lookup func(name string) (string, bool)) (string, error) {
	name, _, hasValue := strings.Cut(s, "=")
	if !hasValue && name != "" {
		value, ok := lookup(name)
		if !ok {
			return "", fmt.Errorf("environment variable %s is not set here: write %s=VALUE", shorten(name), shorten(name))
		}
		s = name + "=" + value
	}
	return s, validateEnv(s)
}

func validateEnv(s string) error {
	name, _, ok := strings.Cut(s, "=")
	if !ok || name == "" || strings.ContainsAny(name, " \t\r\n") || !isText(s) {
		return fmt.Errorf("bad environment variable %q: want NAME=value, for example TZ=Europe/Berlin", shorten(s))
	}
	return nil
}

// AllCapabilities stands for every capability in CapAdd and CapDrop.
const AllCapabilities = "ALL"

// NormalizeCapability gives a capability the name that the kernel's headers have for it: net_raw is
// CAP_NET_RAW. ALL stays ALL.
func NormalizeCapability(s string) (string, error) {
	name := strings.ToUpper(s)
	if name == AllCapabilities {
		return name, nil
	}
	name = strings.TrimPrefix(name, "CAP_")
	if _, ok := slices.BinarySearch(capabilities, name); !ok {
		return "", fmt.Errorf("unknown capability %q: want a name such as NET_RAW or ALL", shorten(s))
	}
	return "CAP_" + name, nil
}

// capabilities are those of capabilities(7), sorted.
var capabilities = []string{
	"AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN",
	"DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE",
	"LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST",
	"NET_RAW", "PERFMON", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT",
	"SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME",
	"SYS_TTY_CONFIG", "WAKE_ALARM",
}

// NormalizeSignal gives a signal the form that every part of piswarm takes: term and SIGTERM are SIGTERM, and
// a number from 1 to 64 stays one.
func NormalizeSignal(s string) (string, error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 1 && n <= 64 {
		return strconv.Itoa(n), nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if !slices.Contains(signals, name) && !isRealTimeSignal(name) {
		return "", fmt.Errorf("unknown signal %q: want a name such as SIGTERM or SIGINT", shorten(s))
	}
	return "SIG" + name, nil
}

// signals are those of signal(7) that ARM and amd64 have.
var signals = []string{
	"ABRT", "ALRM", "BUS", "CHLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "KILL", "PIPE", "PROF", "PWR",
	"QUIT", "SEGV", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM",
	"WINCH", "XCPU", "XFSZ",
}

// isRealTimeSignal knows RTMIN, RTMIN+1…15, RTMAX-14…1 and RTMAX: systemd in a container stops on RTMIN+3.
func isRealTimeSignal(name string) bool {
	bound := 15
	offset, ok := strings.CutPrefix(name, "RTMIN")
	sign := "+"
	if !ok {
		if offset, ok = strings.CutPrefix(name, "RTMAX"); !ok {
			return false
		}
		bound, sign = 14, "-"
	}
	if offset == "" {
		return true
	}
	digits, ok := strings.CutPrefix(offset, sign)
	n, err := strconv.Atoi(digits)
	return ok && err == nil && n >= 1 && n <= bound && strconv.Itoa(n) == digits
}
