// Package state is the replicated map: every node holds all of it, any node writes, and any two nodes that can
// talk end up with the same bytes.
//
// The package owns versions, merging, deletion, digests, and the messages by which two nodes become equal. It is
// pure: no disk, no network, no log, no wall clock, no chance. Whoever uses it saves [Store.Snapshot] and calls
// [Store.Saved], carries each [Message] and [Delta], and decides when. What the records mean it does not know,
// but for four words of package cluster: reports are not kept on disk, node/<id> makes a node known, removed/<id>
// makes it unknown whatever it says of itself, and report/<id> has that node as its only writer.
//
// # Versions
//
// A [Version] is the counter of a Lamport clock and the writer's ID. The greater one wins ([Merge]); nothing
// else decides. Each write takes the counter after the greatest that its node has seen.
//
// # Tombstones and the horizon
//
// A deleted record stays as a tombstone, lest a node that slept through the deletion bring the record back. To
// get rid of tombstones the state carries a horizon: a counter that only grows, raised by the leader
// ([Store.RaiseHorizon]), learned by the others in exchanges. It keeps this invariant:
//
//	Of all records with a counter up to the horizon, a node with that horizon holds none that a tombstone
//	has ever beaten.
//
// Why the leader may raise it to H. For each known node B it remembers the counter C(B) up to which both agreed
// when they last talked ([Store.RaiseHorizon] takes H as the least of them and of its own):
//
//   - B held every record of the leader's of counter ≤ C(B), or a newer one of its key, and the leader every one
//     of B's. This needs no moment of silence: where the digests differ, the lists tell which records differ,
//     and C(B) is one less than the least of their counters. Busy reports have high counters and do not matter.
//   - All that B writes later has a greater counter, since C(B) ≤ Durable, the clock that B's disk holds. A crash
//     does not undo that.
//   - A record that the leader learns later, with a counter c ≤ C(B), lowers C(B) to c-1 (acks.clip): B has
//     not shown that it holds this one.
//
// So when the leader takes H ≤ C(B) for all known B, every record of counter ≤ H that any of them ever wrote was
// with the leader and all of them, up to newer ones of the same key. A tombstone of counter ≤ H has beaten
// the old record everywhere, and may go. Nodes that are down count as known, and so hold H back until they are
// back or forgotten.
//
// Which nodes are known is decided from the very records that the leader compares, so nodes of which it has not
// heard yet need care. A node is a stranger when it has just come up, or has learned that it was forgotten, and joins when
// it and some member B hold the same, its node record being on B's disk (Store.join). At that moment it has B's
// clock, and writes anew what it wrote as a stranger. A leader's C(B) then is from before B had the node record,
// hence not beyond B's clock and below all that the new member writes; or else the leader has seen the node
// record, and waits for the new member; or else C(B) is less than that record's counter. A stranger raises no
// horizon, since it does not know who is known.
//
// Why nobody brings a record back. Every message carries its sender's horizon as of the moment its records were
// read, and a peer with a lower one is stale: of what it offers, a record of counter ≤ my horizon whose key I
// do not hold is refused, for I may have purged it (the admission gate; delayed and repeated messages meet it
// too). Where I do hold the key, its versions decide. A node learns a greater horizon in an exchange only: it
// gives up its records of counter ≤ the new horizon that the peer does not hold, keeps what is newer, and takes
// over the horizon in the same step in which the peer's lists show that it now also holds all that the
// peer holds. Thus it fulfils the invariant as its peer did, and by induction as the leader that raised it did.
// Between peers of equal horizon no gate is needed, and a plain merge makes them equal.
//
// What else may happen:
//
//   - Two leaders in a partition: each waits for all known nodes, the other side's too, so each horizon
//     is valid by itself, and the greater is adopted.
//   - A new leader knows no C(B) at first; it learns them in its own exchanges, and until then raises nothing.
//   - A node crashes after it agreed, before it saved: it comes back with its old horizon, hence stale.
//   - A node comes back with an older copy of its disk, and so breaks its word that all it writes later has a greater
//     counter than C(B). That is why every node is a stranger when it comes up: what it writes before it has met a
//     peer is written anew, above all that the peer knows, and not dropped as old.
//   - A node is forgotten (its node/<id> deleted) and comes back: it resurrects nothing. What it wrote alone
//     meanwhile survives if its counter is beyond the horizon, and is dropped otherwise, named in [Outcome].
//     Forgetting a node is what accepts that. Two halves that have forgotten one another are the same case.
//   - A node is removed (its removed/<id> written): it is forgotten, and stays so. Should it write its node/<id> anew,
//     those who hold removed/<id> do not wait for it, which is the case above; it joins nobody who holds that record,
//     for it would hold it too.
//   - A stranger writes before it has joined, a new one even from clock zero: on learning a horizon it gives its
//     own records new versions instead of dropping them, for they are not old but unheard of. The price: what a
//     stranger handed over, and members deleted and purged before it joined, it brings back.
//   - Two groups of new nodes that find each other only after one of them has raised a horizon: the other
//     group is stale. Leaders should be slow to raise the horizon, above all after a start; nothing waits for it.
//
// Live reports are outside of these rules, since a node that has just started holds none, and its lack of
// one proves nothing. A report of a forgotten node may therefore return with a node that was cut off, not off:
// whoever reads reports goes by the node records, and the leader deletes a report without one.
//
// # Reports
//
// What another node than <id> has written under report/<id>, unless it is a deletion, is taken in from nobody. A
// deletion does no harm: the node writes its report anew.
//
// A node that restarts has forgotten the counters of its reports, which are not kept. If a peer still holds
// its former report under a greater version, the store writes the present one anew, above it, and returns it in
// Outcome.Spread. Only then can two records have equal versions and different content; the lists therefore carry
// a hash of each record, and [Merge] decides by the bytes.
package state
