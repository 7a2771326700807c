// Package trust owns the cluster's one secret and all that is made from it: the token that carries it, the key
// of the gossip, and the certificates of the node API.
//
// A cluster is whoever knows 32 random bytes. Every key is derived from them with HKDF-SHA256 (RFC 5869), one
// derivation a purpose, so that learning one key tells nothing about another or about the secret:
//
//	gossip key   AES-256, encrypts every packet between members
//	CA key       Ed25519 seed; each node derives the same certificate authority and signs its own certificate
//	seal key     AES-256-GCM, encrypts the users' secrets (piswarm secret), see seal.go
//	cluster ID   a public short name, in mDNS and at the head of the token, where it also catches a mistyped one
//
// Certificates are valid from 1970 to 9999 and are checked at a fixed instant between the two: a Pi has no
// clock at boot, so no clock may decide whether a node is a member. What a certificate proves is the node's ID.
//
// # The users' secrets
//
// They are sealed on the node where they are typed and so replicated to every node, not only to those that run a task that
// uses them: when a Pi loses its power, any other one has to start the task at once, and there may be nobody left who could
// hand the value over. What is given up for it: every member can open every secret, so who takes over one node, or reads a
// card, which holds both what is sealed and the cluster's secret, has them all. Against the stolen card helps a change of
// the cluster's secret, and new values for what was on it. A node opens a secret only to make a container that uses it,
// which finds it in a file on a tmpfs; nothing in clear is on a card, in a message, in containerd's records or in an answer
// of the API. Root on that node, and a program in that container, read it, as they must. A node that swaps to its card may
// write memory there, the container's own as well as the tmpfs: Pis that keep secrets should have no swap file.
//
// # Nodes that wait
//
// A node without the secret says by mDNS that it is there, and members list it for people to see. Anyone on the LAN can say
// that, under any name: so nothing is decided by it, a command that takes a node knows nothing of it, and it is kept in
// memory, 64 at a time and one for an address. A forger can fill the list, and keep a real node off it. Whether a machine
// is the one that a person means is settled by that person's ssh (piswarm node add): its keys, its known hosts. The secret
// goes over that connection's standard input, and stands in no command line.
//
// The package does no network I/O and writes no file; the secret leaves it only through Token.
package trust
