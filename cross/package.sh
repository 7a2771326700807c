#!/bin/sh
# Makes the Debian packages in build/ out of the programs that build.sh made. The same commit makes the same bytes.
# An ARMv6 program goes by two names: armhf is ARMv6 to Raspberry Pi OS and ARMv7 to Debian, which has armel for ARMv6.
# usage: VERSION=… [COMPRESSION=none] package.sh [ARCH...]
set -eu

PATH=$PATH:$(pwd)/build/package
# nfpm and the manual pages take every time from it (reproducible-builds.org).
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
GO=${GO:-go}

rm -rf build/package
mkdir -p build/package
"$GO" build -C cross/tools -trimpath -o ../../build/package/nfpm github.com/goreleaser/nfpm/v2/cmd/nfpm
"$GO" run ./cross/texts build/package
gzip -9n build/package/man/*
# A version as Debian wants it begins with a digit: v1.2-3-gabc is 1.2+3.gabc. Before the first release there is only a
# commit, and its time tells which of two is the newer.
version=$(printf %s "$VERSION" | sed -E 's/^v//; s/-([0-9]+)-g/+\1.g/; s/-dirty$/+dirty/')
case $version in
[0-9]*.*) ;;
*) version=0.0.0+$(date -ud "@$SOURCE_DATE_EPOCH" +%Y%m%d.%H%M%S).g$version ;;
esac
cat <<END | gzip -9n >build/package/changelog.gz
piswarm ($version) stable; urgency=medium

  * See https://github.com/piswarm/piswarm

 -- piswarm developers <piswarm@users.noreply.github.com>  $(date -uRd "@$SOURCE_DATE_EPOCH")
END
# Small to send to a Pi, or made at once, to be unpacked at once.
sed "s/^  compression: .*/  compression: ${COMPRESSION:-xz}/" cross/nfpm.yaml >build/package/nfpm.yaml
for pair in armv6:armhf armv6:armel arm64:arm64 amd64:amd64; do
	binary=build/piswarm-linux-${pair%:*} arch=${pair#*:}
	case " ${*:-$arch} " in *" $arch "*) ;; *) continue ;; esac
	PACKAGE_VERSION=$version PACKAGE_ARCH=$arch PACKAGE_BINARY=$binary \
		nfpm package --config build/package/nfpm.yaml --packager deb --target "build/piswarm_${version}_$arch.deb" >build/package/log || {
		cat build/package/log >&2
		exit 1
	}
	printf '%s\t%s bytes\n' "build/piswarm_${version}_$arch.deb" "$(wc -c <"build/piswarm_${version}_$arch.deb")"
done
