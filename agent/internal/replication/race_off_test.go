//go:build !race

package replication

const underRace = false
