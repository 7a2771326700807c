#!/bin/sh
# Installs from the machine's own Debian archive what building an image takes and, with "test", what booting it in QEMU takes.
set -eu
. "$(dirname "$0")/../testdata/need.sh"

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
install_missing
