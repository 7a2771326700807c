package lab

import (
	"os"
	"strings"
)

// mount is a line of mountinfo; see proc(5).
type mount struct {
	root, point, fsType, superOptions string
}

func readMounts(path string) ([]mount, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var mounts []mount
	for line := range strings.Lines(string(text)) {
		before, after, ok := strings.Cut(line, " - ")
		b, a := strings.Fields(before), strings.Fields(after)
		if !ok || len(b) < 5 || len(a) < 3 {
			continue
		}
		mounts = append(mounts, mount{root: unescape(b[3]), point: unescape(b[4]), fsType: a[0], superOptions: a[2]})
	}
	return mounts, nil
}

// unescape undoes the kernel's octal form of the characters that would break a line of mountinfo.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace
