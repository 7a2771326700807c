// Package rotation moves a running cluster from one secret to the next, with no node lost and nothing stopped.
//
// The node where the command was typed drives ([Driver]); every node, the driver too, takes the steps of package
// trust's keyring when it is told to, and has them on disk before it says so ([Receiver]):
//
//	hold      reserve all ready members, in order of their IDs, so that of two drivers one wins
//	install   hand the new secret to all; if one does not take it, take it back from all: nothing has changed
//	use       all go by it; then those that came meanwhile get it and go by it too
//	finish    what is sealed is sealed anew, and all forget the old secret
//
// No step begins before all ready members have done the one before. Whoever crashes, the driver too, leaves a cluster
// in which all that live understand each other, and comes back with what its disk says: a node that was given the secret
// and missed the rest learns from any other that all go by it ([Follow]). The next command finishes what one before has
// left unfinished, and then draws a new secret all the same: who has seen the half-finished one may be the reason.
//
// A secret goes over the wire once a node, inside a TLS 1.3 connection, whose keys are made by an exchange that is
// forgotten: who knows the old secret and only listens does not learn the new one.
//
// The package decides and speaks; connections, disk and keys are its caller's.
package rotation
