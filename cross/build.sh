#!/bin/sh
# Builds the program for each kind of machine, static and stripped, into build/; for macOS and Windows the command line
# alone, which talks to a node: piswarm -H ssh://pi@pi1.local status.
set -eu
all=
for target in linux/arm/6 linux/arm/7 linux/arm64 linux/amd64 darwin/arm64 darwin/amd64 windows/arm64 windows/amd64; do
	os=${target%%/*} arch=${target#*/} arm= end=
	case $arch in
	arm/*) arm=${arch#arm/} arch=arm ;;
	esac
	if [ $os = windows ]; then end=.exe; fi
	name=piswarm-$os-$arch${arm:+v$arm}$end
	GOOS=$os GOARCH=$arch GOARM=$arm CGO_ENABLED=0 ${GO:-go} build -trimpath -ldflags "${LDFLAGS:-}" -o "build/$name" ./agent/cmd/piswarm
	printf '%s\t%s bytes\n' "build/$name" "$(wc -c <"build/$name")"
	all="$all $name"
done
# What is in them, and by what to tell them: both follow from the programs alone.
for name in $all; do
	${GO:-go} run ./cross/sbom "${VERSION:-unknown}" "build/$name" >"build/$name.cdx.json"
done
(
	cd build
	# shellcheck disable=SC2086 # several names
	sha256sum $all $(printf '%s.cdx.json ' $all) >SHA256SUMS
)
