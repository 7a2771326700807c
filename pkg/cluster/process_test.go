package cluster

import (
	"slices"
	"testing"
)

func TestParseDevice(t *testing.T) {
	for in, want := range map[string]Device{
		"/dev/gpiomem":            {"/dev/gpiomem", "/dev/gpiomem", "rwm"},
		"/dev/gpiomem:/dev/x":     {"/dev/gpiomem", "/dev/x", "rwm"},
		"/dev/gpiomem:rw":         {"/dev/gpiomem", "/dev/gpiomem", "rw"},
		"/dev/gpiomem:/dev/x:r":   {"/dev/gpiomem", "/dev/x", "r"},
		"/dev/gpiomem:/dev/x:mwr": {"/dev/gpiomem", "/dev/x", "mwr"},
	} {
		if got, err := ParseDevice(in); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", in, got, err, want)
		}
	}
	for in, words := range map[string]string{
		"":                 `"" is not the absolute path`,
		"gpiomem":          `"gpiomem" is not the absolute path`,
		"/":                "is not the absolute path",
		"/dev/a:b":         `"b" is not the absolute path`,
		"/dev/a:":          `"" is not the absolute path`,
		"/dev/a:/dev/b:":   "bad permissions",
		"/dev/a:/dev/b:x":  "bad permissions",
		"/dev/a:/dev/b:rr": "bad permissions",
		"/dev/a:/b:rw:x":   "want HOST[:CONTAINER[:PERMISSIONS]]",
	} {
		_, err := ParseDevice(in)
		t.Run(in, func(t *testing.T) { checkError(t, err, words) })
	}
}

func TestParseEnv(t *testing.T) {
	lookup := func(name string) (string, bool) { return "from here", name == "HERE" }
	for in, want := range map[string]string{"A=b": "A=b", "A=": "A=", "A=b=c d": "A=b=c d", "HERE": "HERE=from here", "HERE=x": "HERE=x"} {
		if got, err := ParseEnv(in, lookup); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", in, got, err, want)
		}
	}
	for in, words := range map[string]string{"": "want NAME=value", "=x": "want NAME=value", "A B=c": "want NAME=value", "A=\x00": "want NAME=value", "A=\xff": "want NAME=value", "ELSEWHERE": "write ELSEWHERE=VALUE"} {
		_, err := ParseEnv(in, lookup)
		t.Run(in, func(t *testing.T) { checkError(t, err, words) })
	}
}

func TestNormalizeCapability(t *testing.T) {
	if !slices.IsSorted(capabilities) {
		t.Fatal("the list is searched by halves and must be sorted")
	}
	if len(capabilities) != 41 {
		t.Errorf("%d capabilities, the kernel has 41", len(capabilities))
	}
	for in, want := range map[string]string{"net_raw": "CAP_NET_RAW", "CAP_SYS_TIME": "CAP_SYS_TIME", "cap_chown": "CAP_CHOWN", "all": "ALL"} {
		if got, err := NormalizeCapability(in); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "CAP_", "CAP_ALL", "NET_ROW", "CAP_CAP_CHOWN", " CHOWN"} {
		_, err := NormalizeCapability(in)
		t.Run(in, func(t *testing.T) { checkError(t, err, "unknown capability") })
	}
}

func TestNormalizeSignal(t *testing.T) {
	for in, want := range map[string]string{"SIGTERM": "SIGTERM", "int": "SIGINT", "sigusr1": "SIGUSR1", "9": "9", "SIGRTMIN+3": "SIGRTMIN+3", "rtmax-14": "SIGRTMAX-14", "RTMIN": "SIGRTMIN"} {
		if got, err := NormalizeSignal(in); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"", "SIG", "TERMINATE", "0", "65", "-9", "RTMIN+16", "RTMIN+0", "RTMIN-1", "RTMAX-15", "RTMAX+1", "RTMIN+03", "RTMIN3"} {
		_, err := NormalizeSignal(in)
		t.Run(in, func(t *testing.T) { checkError(t, err, "unknown signal") })
	}
}
