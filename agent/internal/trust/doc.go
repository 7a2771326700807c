// Package trust owns the cluster's one secret and all that is made from it: the token that carries it, the key
// of the gossip, and the certificates of the node API.
//
// A cluster is whoever knows 32 random bytes. Every key is derived from them with HKDF-SHA256 (RFC 5869), one
// derivation a purpose, so that learning one key tells nothing about another or about the secret:
//
//	gossip key   AES-256, encrypts every packet between members
//	CA key       Ed25519 seed; each node derives the same certificate authority and signs its own certificate
//	metrics      the token by which Prometheus reads the nodes' metrics
//	seal key     AES-256-GCM, encrypts the users' secrets (piswarm secret), see seal.go
//	cluster ID   a public short name, in mDNS and at the head of the token, where it also catches a mistyped one
//
// Certificates are valid from 1970 to 9999 and are checked at a fixed instant between the two: a Pi has no
// clock at boot, so no clock may decide whether a node is a member. What a certificate proves is the node's ID.
//
// # Who can do what
//
// A stranger on the LAN sees that there are nodes, their addresses and the cluster's public ID (mDNS), that packets go
// between them, and what containers themselves say in clear. It reads no message of the nodes and makes none: gossip is
// AES-GCM, the node API TLS 1.3 with certificates on both ends, and without the secret there is neither. A packet of gossip
// that is recorded and sent again decrypts, for memberlist keeps no count; all that gossip carries is versioned, so an old
// message changes nothing, and one about a member is contradicted by the member. mDNS answers only propose addresses:
// a forged one costs a packet without an answer. What a stranger can make a node keep is bounded: package gate counts the
// connections on which nothing is proved yet, a stream of the gossip is read for 128 KB, and the log has a line of it in
// ten minutes. A stranger can stop a shelf by flooding it or by taking its addresses (ARP), as on any LAN, and can use
// what services publish.
//
// Who listens and comes to know the secret later reads the gossip that it has recorded: states of services and reports,
// no user's secret in clear, no image. The node API has forward secrecy. A change of the secret travels in it alone, so
// who knows the old one and only listens does not learn the new one.
//
// A container gets no key, no socket and no path to the node's own ports. One that breaks out is root on its node: see a
// member gone bad.
//
// A local user of a node who is neither root nor of the group piswarm reads nothing: the files here are 0600, the socket
// is 0660, the secret is in no process list or environment. It can flood and fill the machine. The group piswarm is
// root on every node: it starts privileged containers and reads the token.
//
// Who steals a Pi or its card has the secret in clear: a Pi boots alone, with nobody to type a password, so what it can
// read a thief can read. From the LAN he is then a member. Remedy: `piswarm node rm` of the Pi, `piswarm token rotate`,
// and new values for what users' secrets were on it. Until then he may be there under any name; the change of the secret
// prints every node that gets it, and one that nobody knows is to be removed and the secret changed again.
//
// A member gone bad has the secret and so, like any member, all of the state: it writes services, plans and deletions
// that all others obey, answers as any other node (each derives the CA, so a certificate keeps honest nodes apart and
// mistakes out, no forger), and through privileged containers is root everywhere. What holds against it is little, by
// choice: a cluster without a server has nobody else to trust. What people ask of any node (output, a shell
// in a container, an upgrade) a member may ask of the node that it concerns, for it does so in their name; the API gives
// members no token and no other commands. A record has to be well formed and in its bounds; a report is taken in only in its own node's name, and what a node says in
// an exchange only under the ID that its certificate proves; a removed node gets no answer by that name; nobody gets at
// another's keys through serf's own queries, which are dropped. All of that stops accidents and the careless, and after a
// change of the secret without it the bad one is a stranger. It can be in the way of that change as long as it is on.
//
// The same holds of an upgrade: a member hands another one a package, and it is installed as root. People order it by the
// socket alone, and a checksum tells that what came is what was sent, not that its maker is honest; but who could send a
// bad one could as well start a privileged container.
//
// Whoever is in at the moment when the secret changes gets the new one. There is no way to tell an honest node from one
// that has its secret and its name.
//
// # A new secret
//
// Keyring has the steps by which a running cluster goes from one secret to the next, and package rotation who says when.
// While it goes on both hold. Afterwards nothing made from the old one is accepted: no gossip, no certificate, no TLS session
// (none is kept), and a connection of before gets no further answer; what was being read through it, an image, ends.
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
// # The page
//
// Each node shows a page on port 7948, in clear: browsers trust no certificate that a Pi could have. So who listens on
// the LAN sees what the page shows, and can take over a browser's session, to write if it may write; where that matters, the
// way is a tunnel to localhost (ssh -L). Against all others: a browser signs in by a code of 144 random bits from somebody who
// may use the socket, which works once and a quarter of an hour, and travels in the part of a link that browsers send nowhere.
// There are 8 codes, 32 sessions of a day and 48 streams at most, and package gate counts connections. Browsers send a cookie
// to every port of a host, so to every container that is published there; a session therefore needs a second value, which
// the page keeps where only its own port can read it, and sends in a header. A page of another port or host can neither set
// that header nor claim this page's Origin, and one that has its own name lead to a node (DNS rebinding) is refused by the
// name, unless that is one of the LAN: .local, .lan, .internal, .home.arpa, one word, or an address.
//
// Who may look sees names, addresses, images, states, errors and warnings, of all nodes, and what containers print, as far
// as their programs tell there what they should not. No environment, argument or label of a container is sent, and no
// secret or config. With dashboard = "view" anyone who reaches the port looks, without what containers print. Who may write
// scales, restarts and removes services and drains nodes, and that is all: no image, no command and no mount comes from there.
// What containers print or are called is never markup, and the page's policy lets no script run but its own.
//
// The token of the metrics is derived from the secret, reads figures and nothing else, and changes with the secret.
//
// The package does no network I/O and writes no file; the secret leaves it only through Token.
package trust
