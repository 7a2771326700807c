// Command man writes a manual page for each command of piswarm into a directory, from the same texts that --help shows.
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra/doc"

	"github.com/piswarm/piswarm/agent/cli"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1)
	}
}

// run writes the pages into the directory that is named. They are of the day that SOURCE_DATE_EPOCH says, a number of
// seconds since 1970 (reproducible-builds.org), so that the same commit makes the same pages.
func run(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: SOURCE_DATE_EPOCH=SECONDS man DIRECTORY")
	}
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	day := time.Unix(seconds, 0).UTC()
	if err := os.MkdirAll(args[0], 0o755); err != nil {
		return err
	}
	root := cli.NewCommand()
	root.DisableAutoGenTag = true
	return doc.GenManTree(root, &doc.GenManHeader{Section: "1", Date: &day, Source: "piswarm", Manual: "piswarm"}, args[0])
}
