// Command texts writes what a package holds beside the program and that the program's commands say themselves: a manual page
// for each, from the texts that --help shows, and the completions of shells.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra/doc"

	"github.com/piswarm/piswarm/agent/cli"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "texts:", err)
		os.Exit(1)
	}
}

// run writes into the directory that is named: man/ and piswarm.SHELL. The pages are of the day that SOURCE_DATE_EPOCH says,
// a number of seconds since 1970 (reproducible-builds.org), so that the same commit makes the same pages.
func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: SOURCE_DATE_EPOCH=SECONDS texts DIRECTORY")
	}
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	day := time.Unix(seconds, 0).UTC()
	man := filepath.Join(args[0], "man")
	if err := os.MkdirAll(man, 0o755); err != nil {
		return err
	}
	root := cli.NewCommand()
	for shell, write := range map[string]func(string) error{
		"bash": func(path string) error { return root.GenBashCompletionFileV2(path, true) },
		"zsh":  root.GenZshCompletionFile,
		"fish": func(path string) error { return root.GenFishCompletionFile(path, true) },
	} {
		if err := write(filepath.Join(args[0], "piswarm."+shell)); err != nil {
			return err
		}
	}
	root.DisableAutoGenTag = true
	return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Date: &day, Source: "piswarm", Manual: "piswarm"}, man)
}
