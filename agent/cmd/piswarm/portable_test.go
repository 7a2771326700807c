package main

import (
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// portable are the modules that the command line is made of where it has no agent, besides this one: nothing of
// containerd, netlink or gossip. Each addition makes the program larger on every laptop.
var portable = []string{
	"github.com/compose-spec/compose-go/v2", "github.com/distribution/reference", "github.com/docker/go-connections",
	"github.com/docker/go-units", "github.com/go-viper/mapstructure/v2", "github.com/mattn/go-shellwords", "github.com/moby/term",
	"github.com/opencontainers/go-digest", "github.com/santhosh-tekuri/jsonschema/v6", "github.com/sirupsen/logrus",
	"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/xhit/go-str2duration/v2", "go.yaml.in/yaml/v4",
	"golang.org/x/sync", "golang.org/x/sys", "golang.org/x/text",
}

// peculiar are those of one system.
var peculiar = map[string][]string{"darwin": nil, "windows": {"github.com/Azure/go-ansiterm", "github.com/inconshreveable/mousetrap"}}

// own are the packages of this module that the command line may need on a laptop.
var own = []string{"agent/cli", "agent/cmd", "pkg/client", "pkg/cluster", "agent/internal/reaper", "agent/internal/trust"}

// TestPortable holds what the command line is made of on macOS and Windows, and that it builds.
func TestPortable(t *testing.T) {
	for os, more := range peculiar {
		want := slices.Sorted(slices.Values(slices.Concat(portable, more)))
		for _, arch := range []string{"arm64", "amd64"} {
			const module = "github.com/piswarm/piswarm"
			var got []string
			for line := range strings.Lines(list(t, os, arch)) {
				from, path, _ := strings.Cut(strings.TrimSpace(line), " ")
				name, mine := strings.CutPrefix(path, module+"/")
				switch {
				case from != module:
					got = append(got, from)
				case !mine || !slices.ContainsFunc(own, func(o string) bool { return name == o || strings.HasPrefix(name, o+"/") }):
					t.Errorf("%s/%s: %s is part of the command line there", os, arch, path)
				}
			}
			slices.Sort(got)
			if got = slices.Compact(got); !slices.Equal(got, want) {
				t.Errorf("%s/%s is made of\n%s\nwant\n%s", os, arch, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
	// What is not for Linux is compiled, too. It is nearly the same for all others, so one does, and it takes a while.
	goTool(t, "windows", "amd64", "vet", ".", "../../cli", "../../../pkg/client", "../../../pkg/cluster")
}

// list returns the modules and packages of the program that are not of the standard library, each on a line.
func list(t *testing.T, os, arch string) string {
	return goTool(t, os, arch, "list", "-deps", "-f", "{{with .Module}}{{.Path}} {{$.ImportPath}}{{end}}", ".")
}

func goTool(t *testing.T, os, arch string, args ...string) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", args...)
	command.Env = append(command.Environ(), "GOOS="+os, "GOARCH="+arch, "CGO_ENABLED=0")
	out, err := command.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("go %s for %s/%s: %v\n%s", args[0], os, arch, err, exit.Stderr)
	} else if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
