# Runs inside of the card's root.
dpkg --install /piswarm.deb
useradd --create-home --shell /bin/bash --groups piswarm,sudo pi
# No password opens anything: who may log in is who has an ssh key that piswarm.toml names.
passwd --lock pi
passwd --lock root
chmod 440 /etc/sudoers.d/piswarm
systemctl --quiet enable systemd-networkd systemd-resolved systemd-timesyncd ssh \
	piswarm-boot piswarm-grow piswarm-ssh-key piswarm-greet piswarm-greet.timer piswarm containerd
# Nothing comes from the network, or is written to the card, because it is four o'clock.
systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
echo piswarm >/etc/hostname
printf '127.0.0.1\tlocalhost\n127.0.1.1\tpiswarm\n' >/etc/hosts
ln -sf /run/systemd/resolve/resolv.conf /etc/resolv.conf
# config.txt and cmdline.txt, with the settings in /etc/default.
DEB_MAINT_PARAMS=configure /etc/kernel/postinst.d/z50-raspi-firmware
rm -rf /var/lib/apt/lists/* /var/log/*
find /var/cache -type f -delete
