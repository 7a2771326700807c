// Package boot owns the settings file on an SD card's boot partition: piswarm.toml, which a person edits on any
// computer before the card goes into a Pi. At each boot, before the network and the agent, [Run] carries over what the
// file says to the system's own files.
//
//	setting                            goes to
//	hostname                           /etc/hostname, /etc/hosts, the kernel
//	timezone                           /etc/localtime
//	ssh_keys                           /etc/ssh/authorized_keys/pi
//	wifi: country, ssid, password      /etc/wpa_supplicant/wpa_supplicant-wlan0.conf
//	cluster, token, advertise,
//	vip, labels                        /etc/piswarm/piswarm.toml
//
// Everybody can read the boot partition, so secrets (token, wifi.password) do not stay there: once they are safe in the
// system, they are overwritten in place, with as many bytes. An empty secret means the one that was moved before.
//
// Whatever the file holds, the Pi boots. Each setting stands for itself: a mistake in one leaves the others, and leaves
// what an earlier boot made of it; so does a setting that is not there any more. Name and password of the Wi-Fi stand
// together. All mistakes are in piswarm-errors.txt beside the file, in the words of a person who will read it on the
// computer that wrote the card; it goes when there are none. Nothing is written that is there already: a boot without a
// change writes nothing to the card.
package boot
