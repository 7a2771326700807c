package agent

import (
	"io"

	"golang.org/x/sys/unix"

	"github.com/piswarm/piswarm/agent/internal/boot"
)

// Boot carries over to the system what a person wrote to piswarm.toml on the SD card's boot partition, and tells out of
// mistakes in it.
func Boot(out io.Writer) error {
	return boot.Run(boot.Config{Root: "/", Out: out, SetHostname: func(name string) error { return unix.Sethostname([]byte(name)) }})
}
