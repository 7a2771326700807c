package cli

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// maxEnvFile bounds a file of environment variables: they end up in the replicated state, which every node keeps.
const maxEnvFile = 256 << 10

// environment joins the variables of files and of flags. Of one variable given twice the last counts, so a flag
// wins over a file, as in docker.
func environment(files, flags []string, lookup func(string) (string, bool)) ([]string, error) {
	var all []string
	for _, file := range files {
		vars, err := readEnvFile(file, lookup)
		if err != nil {
			return nil, fmt.Errorf("--env-file: %w", err)
		}
		all = append(all, vars...)
	}
	for _, arg := range flags {
		v, err := cluster.ParseEnv(arg, lookup)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return lastOfEach(all), nil
}

// readEnvFile reads docker's form: a NAME=VALUE a line, taken as it stands, without quotes; empty lines and those
// that begin with # are passed over.
func readEnvFile(name string, lookup func(string) (string, bool)) ([]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	limited := &io.LimitedReader{R: f, N: maxEnvFile + 1}
	in := bufio.NewScanner(limited)
	in.Buffer(nil, maxEnvFile+1)
	var all []string
	for n := 1; in.Scan(); n++ {
		line := strings.TrimLeft(strings.TrimPrefix(in.Text(), "\ufeff"), " \t")
		if line == "" || line[0] == '#' {
			continue
		}
		v, err := cluster.ParseEnv(line, lookup)
		if err != nil {
			return nil, fmt.Errorf("%s line %d: %w", name, n, err)
		}
		all = append(all, v)
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if limited.N <= 0 {
		return nil, fmt.Errorf("%s is larger than %d KB", name, maxEnvFile>>10)
	}
	return all, nil
}

// lastOfEach keeps, in the order of first mention, the last value of each variable.
func lastOfEach(vars []string) []string {
	var kept []string
	at := map[string]int{}
	for _, v := range vars {
		name, _, _ := strings.Cut(v, "=")
		if i, ok := at[name]; ok {
			kept[i] = v
			continue
		}
		at[name] = len(kept)
		kept = append(kept, v)
	}
	return kept
}
