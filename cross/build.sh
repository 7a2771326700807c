#!/bin/sh
# Builds the program for each kind of machine, static and stripped, into build/.
set -eu
for target in arm/6 arm/7 arm64/ amd64/; do
	arch=${target%/*} arm=${target#*/}
	out=build/piswarm-linux-$arch${arm:+v$arm}
	GOOS=linux GOARCH=$arch GOARM=$arm CGO_ENABLED=0 ${GO:-go} build -trimpath -ldflags "${LDFLAGS:-}" -o "$out" ./agent/cmd/piswarm
	printf '%s\t%s bytes\n' "$out" "$(wc -c <"$out")"
done
# What is in them, and by what to tell them: both follow from the programs alone.
for out in build/piswarm-linux-*v6 build/piswarm-linux-*v7 build/piswarm-linux-*64; do
	${GO:-go} run ./cross/sbom "${VERSION:-unknown}" "$out" >"$out.cdx.json"
done
(cd build && sha256sum piswarm-linux-*v6 piswarm-linux-*v7 piswarm-linux-*64 piswarm-linux-*.cdx.json >SHA256SUMS)
