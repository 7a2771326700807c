// Package scheduler decides which node runs which task.
//
// [Decide] is a pure function from what the leader knows (services, nodes, the plans so far, what the nodes
// say of their tasks) to the plans that should follow. It reads no clock, draws no random numbers and does no
// I/O, so that the same knowledge gives byte-identical plans on any node: after a change of leader nothing
// moves, and two leaders on the two sides of a partition agree as far as they see the same.
//
// One call goes through these steps, one file each:
//
//   - adopt.go: what of the present plan is well formed, wanted, and may stay where it is.
//   - ended.go: which tasks have run as often as they are to be run; a job is made of them.
//   - pair.go: which two tasks of a slot are a move, the old one serving until the new one runs.
//   - orphan.go: what runs without being planned takes the place of what is planned and does not run yet.
//   - update.go: how far the tasks follow the service's spec, and what is done when too many new ones fail.
//   - move.go: tasks that their node rejects or cannot keep alive go to another node, if one fits.
//   - place.go: tasks without a node, or on one that they must leave, get the best of the nodes that fit.
//   - turn.go: tasks of another version of the spec are replaced, a few at a time.
//   - filter.go: which nodes fit, and the words for why none does.
//   - edition.go: what the tasks of one version of the spec need of a node.
//   - rebalance.go: a node that has been back for a while gets work again, one task at a time.
//
// Nothing else makes a task move. The result is stable: Decide on its own result changes nothing, unless an orphan
// finds room only in what the first call has freed. Time comes in only as how long a leader has seen tasks in their
// state, so that one who has just begun to look decides the same, if later.
package scheduler
