// Command image builds the image of the greeter, for all processors that a Raspberry Pi can have, as one tar file.
//
//	go run ./testdata/greeter/image -o build/greeter.tar
//	go run ./testdata/greeter/image -o build/greeter-v2.tar -name greeter:v2 -version v2
//	go run ./testdata/greeter/image -o build/foreign.tar -name foreign:latest -platform linux/s390x
//	go run ./testdata/greeter/image -o build/sick.tar -name greeter:sick -health '/greeter get 1 http://127.0.0.1:1/'
//	go run ./testdata/greeter/image -o build/crash.tar -name greeter:crash -args 'get nothing'
//
// The file is an OCI image layout, as `piswarm image load`, `ctr image import` and `skopeo` read it. The same
// source and Go version give the same bytes.
package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("greeter image: ")
	out := flag.String("o", "build/greeter.tar", "the `file` to write")
	name := flag.String("name", "greeter:latest", "the image's name, as name:tag or with a registry")
	var c config
	flag.StringVar(&c.version, "version", "", "a `text` at the end of the greeting, by which to tell one image from another")
	flag.StringVar(&c.health, "health", "", "the image's own health check, a `command` in words")
	flag.StringVar(&c.args, "args", "", "default `arguments` of the greeter, in words")
	platforms := flag.String("platform", "linux/amd64,linux/arm64,linux/arm/v6,linux/arm/v7", "the `platforms` to build for")
	flag.Parse()
	if err := build(*out, *name, *platforms, c); err != nil {
		log.Fatal(err)
	}
}

func build(out, name, platforms string, c config) error {
	reference, tag, err := fullName(name)
	if err != nil {
		return err
	}
	scratch, err := os.MkdirTemp("", "greeter-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)

	var variants []variant
	for word := range strings.SplitSeq(platforms, ",") {
		platform, err := v1.ParsePlatform(strings.TrimSpace(word))
		if err != nil {
			return fmt.Errorf("platform %q: %w", word, err)
		}
		binary := filepath.Join(scratch, fmt.Sprintf("greeter-%d", len(variants)))
		if err := compile(binary, *platform); err != nil {
			return err
		}
		variants = append(variants, variant{platform: *platform, binary: binary})
	}
	layoutDir := filepath.Join(scratch, "layout")
	if err := writeLayout(layoutDir, variants, c, reference, tag); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	return writeTar(out, layoutDir)
}
