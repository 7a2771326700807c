// Package systemd holds the units, and nothing of Go but the test that holds what the README says of them.
package systemd
