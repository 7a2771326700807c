#!/bin/sh
# The part of test.sh in a network namespace of its own: boots the Debian in a directory, and tries the packages that lie in
# its /root.
# usage: test-root.sh ROOT ARCH
set -eu

root=$1 arch=$2
group=piswarm-test-packages-$$ # of the cgroups
say() { printf '%4d s  %s\n' $(($(date +%s) - began)) "$*"; }
fail() {
	echo "test-packages: $*" >&2
	inside journalctl --no-pager -u piswarm -u piswarm-upgrade | tail -n 40 >&2 || true
	exit 1
}

# cgroups of version 1 are given to a container by a moved process, those of version 2 are its own.
ip link set lo up
for c in /sys/fs/cgroup/*/; do
	[ -e "$c/cgroup.procs" ] && mkdir "$c/$group" || continue
	for f in cpuset.cpus cpuset.mems; do
		[ ! -e "$c/$f" ] || cat "$c/$f" >"$c/$group/$f"
	done
done
# Containers in there do what nspawn would not let one do by itself. Its standard output is the console.
(
	for c in /sys/fs/cgroup/*/"$group"; do
		sh -c 'echo $PPID' >"$c/cgroup.procs"
	done
	exec systemd-nspawn --directory="$root" --machine=piswarm --boot --register=no --keep-unit --network-veth --capability=all \
		--system-call-filter='@keyring bpf' --console=pipe
) >"$root/../console.log" 2>&1 </dev/null &
nspawn=$!
load=
clean() {
	[ -z "$load" ] || kill "$load" 2>/dev/null || true
	kill -KILL "$init" 2>/dev/null || true # and with it all that is in there
	wait "$nspawn" 2>/dev/null || true
	for c in /sys/fs/cgroup/*/"$group"; do
		find "$c" -depth -type d -exec rmdir {} + 2>/dev/null || true
	done
}
init=
trap clean EXIT
trap 'exit 1' INT TERM

within() { # SECONDS WHAT COMMAND…
	left=$1 what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		[ $((left -= 1)) -gt 0 ] || fail "$what: it is not so"
		sleep 1
	done
}
inside() { timeout 400 nsenter --target "$init" --mount --uts --ipc --net --pid --cgroup -- "$@"; }
is() { # WHAT GOT WANT
	[ "$2" = "$3" ] || fail "$1: $2, want $3"
}
booted() {
	init=$(pgrep -P "$nspawn" | head -n 1) && [ -n "$init" ] && inside systemctl is-active containerd
}
within 60 "systemd and containerd run" booted
inside sh -c 'for m in /sys/fs/cgroup/*/; do mount -o remount,bind,rw $m 2>/dev/null || true; done
	ip addr add 10.9.8.2/24 dev host0 && ip link set host0 up'
ip addr add 10.9.8.1/24 dev ve-piswarm
ip link set ve-piswarm up
say "Debian is up, with systemd"

version() { inside piswarm version --format '{{.Agent.Version}}'; }
installed() { inside dpkg-query --show --showformat='${Version}' piswarm; }
pids() { inside pgrep -x greeter | sort | tr '\n' ' '; }
apt() { inside env DEBIAN_FRONTEND=noninteractive apt-get "$@" >"$root/../apt.log" 2>&1 || { cat "$root/../apt.log" >&2; fail "apt-get $*"; }; }

asked() { # what changes while the service is asked, by connections that last and by one for each request
	wrk -t1 -c1 -d600s --timeout 20s http://10.9.8.2:9000/ >"$root/../kept" & first=$!
	wrk -t1 -c1 -d600s --timeout 20s -H 'Connection: close' http://10.9.8.2:9000/ >"$root/../closed" & second=$!
	load="$first $second"
	sleep 1
	"$@"
	sleep 1
	kill -INT $first $second
	wait $first $second || true
	load=
	for how in kept closed; do
		if grep -E 'Socket errors|Non-2xx' "$root/../$how" || ! grep -q ' requests in ' "$root/../$how"; then
			fail "$*: requests failed"
		fi
		say "  $how connections: $(sed -n 's/^ *\([0-9]* requests\) in .*/\1/p' "$root/../$how"), none failed"
	done
}

say "install"
apt install -y "/root/piswarm_1.0.0_$arch.deb"
is "the unit" "$(inside systemctl is-enabled piswarm) $(inside systemctl is-active piswarm)" "enabled active"
is "how systemd knows it" "$(inside systemctl show -P Type -P WatchdogUSec -P Restart piswarm | tr '\n' ' ')" "notify always 1min "
inside getent group piswarm >/dev/null || fail "there is no group piswarm"
is "socket" "$(inside stat -c '%a %G' /run/piswarm/piswarm.sock)" "660 piswarm"
is "settings" "$(inside stat -c %a /etc/piswarm/piswarm.toml)" 600
is "version" "$(version)" 1.0.0
inside sh -c 'echo "labels = { room = \"kitchen\" }" >>/etc/piswarm/piswarm.toml'
inside systemctl restart piswarm
inside piswarm init >/dev/null
identity() { inside sed 's/.*"id":"\([^"]*\)".*/\1/' /var/lib/piswarm/node.json; }
node=$(identity)
inside piswarm image load -i /root/greeter.tar >/dev/null
inside piswarm create --name greeters --publish 9000:5000 --replicas 2 greeter >/dev/null
within 20 "the service answers" curl -sSf --max-time 1 http://10.9.8.2:9000/
before=$(pids)

same() { # VERSION
	is "version of the agent" "$(version)" "$1"
	is "version of the package" "$(installed)" "$1"
	is "containers" "$(pids)" "$before"
	inside grep -q kitchen /etc/piswarm/piswarm.toml || fail "the settings are gone"
	is "state of dpkg" "$(inside dpkg --audit)" ""
}
say "upgrade by apt"
asked apt install -y "/root/piswarm_1.1.0_$arch.deb"
same 1.1.0

roll() { # EXIT ARGUMENTS…
	want=$1
	shift
	code=0
	inside piswarm upgrade "$@" >"$root/../upgrade.log" 2>&1 || code=$?
	sed 's/^/        /' "$root/../upgrade.log"
	is "piswarm upgrade $*" $code "$want"
}
say "piswarm upgrade to what is older"
roll 1 --from "/root/piswarm_1.0.0_$arch.deb"
same 1.1.0
asked roll 0 --allow-downgrade --from "/root/piswarm_1.0.0_$arch.deb"
same 1.0.0
say "piswarm upgrade"
asked roll 0 --from "/root/piswarm_1.1.0_$arch.deb"
same 1.1.0
say "piswarm upgrade to what does not live"
asked roll 2 --from "/root/piswarm_2.0.0_$arch.deb"
same 1.1.0
is "what is left of it" "$(inside ls /var/lib/piswarm/upgrade | tr '\n' ' ')" "lock state.json "

nothing() {
	is "containers" "$(pids)" ""
	is "rules" "$(inside sh -c "iptables-save | grep -ci 'piswarm\|10\.77\.' || true")" 0
	is "bridge" "$(inside ls /sys/class/net | grep -c '^piswarm0$\|^psw' || true)" 0
	is "routes" "$(inside ip route show proto 77)" ""
}
say "remove"
apt remove -y piswarm
nothing
is "settings" "$(inside stat -c %a /etc/piswarm/piswarm.toml)" 600
is "the node" "$(identity)" "$node"
say "install again"
apt install -y "/root/piswarm_1.1.0_$arch.deb"
is "the unit" "$(inside systemctl is-enabled piswarm) $(inside systemctl is-active piswarm)" "enabled active"
within 30 "the service answers again" curl -sSf --max-time 1 http://10.9.8.2:9000/
say "purge"
apt purge -y piswarm
nothing
for path in /etc/piswarm /var/lib/piswarm /run/piswarm /usr/bin/piswarm; do
	! inside test -e $path || fail "$path is left: $(inside find $path)"
done
! inside getent group piswarm >/dev/null || fail "group piswarm is left"
is "units" "$(inside sh -c 'find /etc/systemd /run/systemd/system /var/lib/systemd -name "*piswarm*"')" ""
is "images" "$(inside ctr --namespace piswarm images ls --quiet)" ""
