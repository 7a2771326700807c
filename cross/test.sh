#!/bin/sh
# Tries the Debian package of this machine's architecture: lintian looks at it, and a Debian of its own, with a systemd of
# its own (systemd-nspawn), installs it, upgrades it while a service is asked, removes and purges it. That Debian is
# fetched once and kept in build/; its network is a namespace that nothing else is in. As root.
set -eu

GO=${GO:-go}
here=$(cd "$(dirname "$0")" && pwd)
arch=$(dpkg --print-architecture)
work=build/test-packages
began=$(date +%s)
say() { printf '%4d s  %s\n' $(($(date +%s) - began)) "$*"; }

rm -rf "$work"
mkdir -p "$work"
for version in 1.0.0 1.1.0; do
	say "building $version"
	CGO_ENABLED=0 "$GO" build -trimpath -ldflags "-s -w -X github.com/piswarm/piswarm/agent.Version=$version" \
		-o "build/piswarm-linux-$arch" ./agent/cmd/piswarm
	VERSION=$version cross/package.sh "$arch" >/dev/null
	mv "build/piswarm_${version}_$arch.deb" "$work/"
done
# One whose agent does not live.
say "building a bad one"
dpkg-deb --raw-extract "$work/piswarm_1.1.0_$arch.deb" "$work/bad"
sed -i 's/^Version: .*/Version: 2.0.0/' "$work/bad/DEBIAN/control"
cat >"$work/bad/usr/bin/piswarm" <<'END'
#!/bin/sh
[ "$1" = version ] || exit 1
echo '{"client":{"version":"2.0.0"}}'
END
dpkg-deb --root-owner-group -Zgzip -z1 --build "$work/bad" "$work/piswarm_2.0.0_$arch.deb" >/dev/null
rm -r "$work/bad"
"$GO" run ./testdata/greeter/image -platform "linux/$arch" -o "$work/greeter.tar"

say "lintian"
lintian --allow-root --no-cfg --fail-on error "$work/piswarm_1.1.0_$arch.deb"

base=build/debian-$arch.tar
if [ ! -e "$base" ]; then
	say "fetching Debian, which takes some minutes"
	mmdebstrap --variant=minbase --include=systemd-sysv,dbus,containerd,runc,iptables,iproute2,procps \
		--aptopt='APT::Install-Recommends "false"' bookworm "$base.part.tar" 2>"$work/mmdebstrap.log" || { cat "$work/mmdebstrap.log" >&2; exit 1; }
	mv "$base.part.tar" "$base"
fi
say "unpacking Debian"
mkdir "$work/root"
tar -C "$work/root" -xf "$base"
rm -f "$work/root/usr/sbin/policy-rc.d"
mv "$work"/*.deb "$work/greeter.tar" "$work/root/root/"

export began
unshare --net --mount sh "$here/test-root.sh" "$work/root" "$arch"
rm -rf "$work"
say "done"
