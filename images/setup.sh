#!/bin/sh
# Installs from the machine's own Debian archive what building an image takes and, with "test", what booting it in QEMU takes.
set -eu
PATH=$PATH:/usr/sbin:/sbin
missing=
need() { # COMMAND PACKAGE
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need mmdebstrap mmdebstrap
need arch-test arch-test
need qemu-arm-static qemu-user-static
need update-binfmts binfmt-support
need mkfs.vfat dosfstools
need mcopy mtools
need sfdisk fdisk
need debugfs e2fsprogs
need xz xz-utils
if [ "${1:-}" = test ]; then
	need qemu-system-arm qemu-system-arm
	need dnsmasq dnsmasq-base
	need fdtput device-tree-compiler
	need ssh openssh-client
	need ip iproute2
fi

[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
	echo "piswarm: missing:$missing. Install them (sudo apt-get install$missing), or run make as root" >&2
	exit 1
fi
echo "installing$missing"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >/dev/null
