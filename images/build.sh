#!/bin/sh
# Builds an SD card's image from Debian's packages and piswarm's own: build/piswarm-BOARD.img.xz, with its checksum and its
# entry for Raspberry Pi Imager. As root, for file owners; nothing is mounted outside of this but in a namespace that ends.
# The same commit, packages and token make the same bytes.
# usage: [TOKEN=none|PSWM-1-…] [MIRROR=URL] GO=go VERSION=… LDFLAGS=… build.sh zero|pi2|pi3
# Without TOKEN, the image carries a token of its own: cards that are flashed from it are one cluster.
set -eu
umask 022
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C TZ=UTC

board=${1:-}
[ -n "$board" ] && [ -f "images/boards/$board" ] || {
	echo "images/build.sh: no board '$board': want one of" $(ls images/boards) >&2
	exit 1
}
[ "$(id -u)" = 0 ] || { echo "images/build.sh: run it as root: the files on the card belong to root" >&2; exit 1; }
. "images/boards/$board"

began=$(date +%s)
say() { printf '%4d s  %s\n' $(($(date +%s) - began)) "$*"; }
# What is in the image is as old as the commit (reproducible-builds.org).
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH

say "piswarm for $arch"
program=build/piswarm-linux-$goarch${goarm:+v$goarm}
GOOS=linux GOARCH=$goarch GOARM=$goarm CGO_ENABLED=0 "$GO" build -trimpath -ldflags "$LDFLAGS" -o "$program" ./agent/cmd/piswarm
rm -f build/piswarm_*_"$arch.deb"
COMPRESSION=none cross/package.sh "$arch" >/dev/null

# Programs of another processor run by QEMU, if the kernel is told so.
if ! arch-test "$arch" >/dev/null 2>&1; then
	mountpoint -q /proc/sys/fs/binfmt_misc || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
	update-binfmts --enable
	arch-test "$arch" >/dev/null || { echo "images/build.sh: this machine runs no programs for $arch: is qemu-user-static installed?" >&2; exit 1; }
fi

work=build/image-$board
mkdir -p "$work"
base=$work/base-$(cat images/packages images/base.sh images/root/etc/default/* images/root/etc/initramfs-tools/*/* | sha256sum | cut -c1-16).tar
if [ -e "$base" ]; then
	say "Debian for $arch: kept from before; remove $base for the newest packages"
else
	say "Debian for $arch: fetching and unpacking, which takes some minutes"
	rm -f "$work"/base-*
	ARCH=$arch KERNEL=$kernel images/base.sh "$base.part"
	mv "$base.part" "$base"
fi

say "unpacking"
root=$work/root
rm -rf "$root"
mkdir "$root"
tar -C "$root" --numeric-owner --xattrs --xattrs-include='*' -xf "$base"
say "installing piswarm"
cp -R images/root/. "$root/"
install -m 644 systemd/piswarm-boot.service "$root/etc/systemd/system/"
cp build/piswarm_*_"$arch.deb" "$root/piswarm.deb"
# /proc is there as long as the command runs.
inside() { unshare --mount sh -c 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"' "$root" "$@"; }
inside sh -eu <images/customize.sh >"$work/customize.log" 2>&1 || { cat "$work/customize.log" >&2; exit 1; }
rm "$root/piswarm.deb"

say "settings"
token=${TOKEN:-$("$program" token new)}
[ "$token" != none ] || token=
boot=$work/boot
rm -rf "$boot"
mv "$root/boot/firmware" "$boot"
mkdir "$root/boot/firmware"
sed "s|^token = .*|token = \"$token\"|" images/piswarm.toml >"$boot/piswarm.toml"
find "$root" "$boot" -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

say "file systems"
# The boot partition has room for the kernels of an update; the root for the first start: then it grows to the card.
bootMiB=256
rootMiB=$(($(du -sm "$root" | cut -f1) * 12 / 10 + 64))
image=build/piswarm-$board.img
rm -f "$work/boot.img" "$work/root.img" "$image"
truncate -s ${bootMiB}M "$work/boot.img"
mkfs.vfat -F 32 -n PISWARMBOOT -i 50495357 --invariant "$work/boot.img" >/dev/null
(cd "$boot" && mcopy -i ../boot.img -spm -- * ::)
truncate -s ${rootMiB}M "$work/root.img"
uuid=$(printf '%s' "$board $VERSION" | sha256sum | sed -E 's/^(.{8})(.{4})(.{4})(.{4})(.{12}).*/\1-\2-\3-\4-\5/')
E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mke2fs -q -t ext4 -b 4096 -i 16384 -L PISWARM -U "$uuid" -m 1 \
	-E "hash_seed=$uuid,lazy_itable_init=0,lazy_journal_init=0" -d "$root" "$work/root.img"
# When a file was made, changed and read here is nobody's business.
inodes=$(dumpe2fs -h "$work/root.img" 2>/dev/null | awk '/^Inode count:/ { n = $3 } /^Free inodes:/ { print n - $3 }')
{ echo 2; seq 11 "$inodes"; } | awk -v at="@$SOURCE_DATE_EPOCH" '{ print "sif <" $1 "> ctime " at "\nsif <" $1 "> atime " at "\nsif <" $1 "> crtime " at }' |
	E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH debugfs -w -f - "$work/root.img" >"$work/debugfs.log" 2>&1
truncate -s $((4 + bootMiB + rootMiB))M "$image"
sfdisk --quiet "$image" <<END
label: dos
label-id: 0x50495357
start=4MiB, size=${bootMiB}MiB, type=c, bootable
start=$((4 + bootMiB))MiB, type=83
END
dd if="$work/boot.img" of="$image" bs=1M seek=4 conv=notrunc,sparse status=none
dd if="$work/root.img" of="$image" bs=1M seek=$((4 + bootMiB)) conv=notrunc,sparse status=none
rm -rf "$work/boot.img" "$work/root.img" "$root"

say "compressing $(du -m "$image" | cut -f1) MiB"
# As many threads everywhere: the bytes depend on whether it is one. Looking less for what is alike makes 3 % more bytes, in
# two thirds of the time.
xz --threads=4 --lzma2=preset=0,nice=16,depth=1 --force --keep "$image"
(cd build && sha256sum "piswarm-$board.img.xz" >"piswarm-$board.img.xz.sha256")
cat >"build/piswarm-$board.json" <<END
{
  "os_list": [
    {
      "name": "piswarm $VERSION for $devices",
      "description": "A shelf of Raspberry Pis that behaves like one machine",
      "url": "file://$(pwd)/build/piswarm-$board.img.xz",
      "extract_size": $(wc -c <"$image"),
      "extract_sha256": "$(sha256sum <"$image" | cut -d' ' -f1)",
      "image_download_size": $(wc -c <"build/piswarm-$board.img.xz"),
      "image_download_sha256": "$(cut -d' ' -f1 "build/piswarm-$board.img.xz.sha256")",
      "release_date": "$(date -d "@$SOURCE_DATE_EPOCH" +%F)",
      "init_format": "none",
      "devices": [$tags]
    }
  ]
}
END
say "build/piswarm-$board.img.xz, $(($(wc -c <"build/piswarm-$board.img.xz") >> 20)) MiB"
