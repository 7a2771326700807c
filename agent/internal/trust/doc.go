// Package trust owns the cluster's one secret and all that is made from it: the token that carries it, the key
// of the gossip, and the certificates of the node API.
//
// A cluster is whoever knows 32 random bytes. Every key is derived from them with HKDF-SHA256 (RFC 5869), one
// derivation a purpose, so that learning one key tells nothing about another or about the secret:
//
//	gossip key   AES-256, encrypts every packet between members
//	CA key       Ed25519 seed; each node derives the same certificate authority and signs its own certificate
//	cluster ID   a public short name, in mDNS and at the head of the token, where it also catches a mistyped one
//
// Certificates are valid from 1970 to 9999 and are checked at a fixed instant between the two: a Pi has no
// clock at boot, so no clock may decide whether a node is a member. What a certificate proves is the node's ID.
//
// The package does no network I/O and writes no file; the secret leaves it only through Token.
package trust
