// Package nettest tries the rules of package loadbalance and the adapters network and firewall together, on a
// real kernel: a LAN of nodes, containers and a laptop, each a network namespace that the test makes and that
// ends with it. It has nothing but tests, and needs root.
package nettest
