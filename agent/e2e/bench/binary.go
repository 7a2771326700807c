package main

import (
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// targets are the kinds of machines that the program is built for. The first is the smallest Pi's.
var targets = []string{"armv6", "armv7", "arm64", "amd64"}

// measureBinaries looks at what cross-building made.
func measureBinaries(build string) ([]figure, error) {
	var sizes []float64
	var flaws []string
	for _, target := range targets {
		path := filepath.Join(build, "piswarm-linux-"+target)
		info, err := os.Stat(path)
		if err != nil {
			flaws = append(flaws, target+" is missing")
			continue
		}
		if flaw, err := flawOf(path); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		} else if flaw != "" {
			flaws = append(flaws, target+" "+flaw)
		}
		sizes = append(sizes, float64(info.Size())/1e6)
	}
	if len(sizes) == 0 {
		return nil, fmt.Errorf("no program in %s: make cross builds them", build)
	}
	built := figure{Name: "kinds of machines built for, static and stripped", Unit: "kinds", AtLeast: true,
		Value: float64(len(targets) - len(flaws)), Target: new(float64(len(targets))), Note: strings.Join(flaws, ", ")}
	built.judge()
	if _, err := os.Stat(filepath.Join(build, "piswarm-linux-armv6")); err != nil {
		return []figure{built}, nil
	}
	size := figure{Name: "program for arm v6", Unit: "MB", Value: sizes[0], Target: new(30.0), Samples: sizes}
	size.judge()
	return []figure{size, built}, nil
}

// flawOf says what a program needs beside itself, or carries along in vain.
func flawOf(path string) (string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return "is not static", nil
		}
	}
	if f.Section(".symtab") != nil || f.Section(".debug_info") != nil {
		return "is not stripped", nil
	}
	return "", nil
}
