#!/bin/sh
# Builds the program for each kind of machine, static and stripped, into build/.
set -eu
for target in arm/6 arm/7 arm64/ amd64/; do
	arch=${target%/*} arm=${target#*/}
	out=build/piswarm-linux-$arch${arm:+v$arm}
	GOOS=linux GOARCH=$arch GOARM=$arm CGO_ENABLED=0 ${GO:-go} build -trimpath -ldflags "${LDFLAGS:-}" -o "$out" ./agent/cmd/piswarm
	printf '%s\t%s bytes\n' "$out" "$(wc -c <"$out")"
done
