// Package cluster holds the words of piswarm: service, task, plan, report, node, and the rules that make
// one of them well formed.
//
// Everything here is data. The package imports the standard library only, does no I/O, reads no clock and
// draws no random numbers, so that every other package may import it. What the words mean to each other:
//
//   - A user writes a [Service], a [Secret] or [Config] that services name, and a node's [Settings].
//   - The leader answers with one [Plan] a service: its tasks, each on a node.
//   - Each node carries out its tasks and publishes a [Report]: what it is and how its tasks do.
//
// Each of them is the value of one record of the replicated state (package state), as JSON, under the key
// that the functions of keys.go make.
package cluster
