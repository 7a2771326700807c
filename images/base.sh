#!/bin/sh
# Makes an archive of a Debian root for a board, without piswarm: what seldom changes, and takes long.
# usage: ARCH=armel KERNEL=linux-image-rpi [MIRROR=URL] base.sh FILE
set -eu
here=$(cd "$(dirname "$0")/root/etc" && pwd)

# The archive is the one that this machine gets its own packages from.
mirror=${MIRROR:-$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' | awk '$1 == "Debian" && $2 == "bookworm" { print $3; exit }')}
[ -n "$mirror" ] || { echo "images/base.sh: no Debian 12 among this machine's package sources: name one by MIRROR=URL" >&2; exit 1; }

# An initramfs takes minutes under QEMU. The kernel makes it once; that each other package has it made again is put off.
once='printf "%s\n" update_initramfs=no backup_initramfs=no >"$1/etc/initramfs-tools/update-initramfs.conf"'
again='sed -i s/update_initramfs=no/update_initramfs=yes/ "$1/etc/initramfs-tools/update-initramfs.conf"'
# Settings of ours are there before the packages that they are for, and stay.
ours="cp -R '$here/default' '$here/initramfs-tools' \"\$1/etc/\""
# Each device has these of its own.
own='rm -rf "$1"/etc/ssh/ssh_host_* "$1"/var/lib/dbus/machine-id "$1"/var/lib/systemd/random-seed "$1"/var/log/*; find "$1/var/cache" -type f -delete; : >"$1/etc/machine-id"'
mmdebstrap --variant=minbase --architectures="$ARCH" --components=main,non-free-firmware --format=tar \
	--include="$KERNEL $(sed 's/#.*//' "$(dirname "$0")/packages" | tr '\n' ' ')" \
	--aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
	--dpkgopt=force-confold --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
	--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
	--essential-hook="$ours" --essential-hook="$once" --customize-hook="$again" --customize-hook="$own" \
	bookworm "$1" "$mirror"
