//go:build race

package replication

const underRace = true
