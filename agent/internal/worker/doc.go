// Package worker is the loop that makes this node's containers be those that the plans give it, and that says in
// the node's report what became of them.
//
// One pass looks at every task of this node, planned or merely found, and asks for the one next step that
// brings it forward (step.go, pure). A step may take long, a pull or a grace period, so it runs beside the loop
// (act.go); until it is done its task is left alone, and when it is done the loop looks again. Containers are
// made to be adopted: what a restarted agent finds running goes on running.
//
// A task that is to go must not be missed by anyone who talks to it (part.go): it serves until every node leads its
// new connections elsewhere, and those that it has come to their end before it is told to stop.
//
// A container gets the secrets and configs that its service names, opened when it is about to be made; as long as one of
// them is missing its task waits (files.go).
//
// A container that runs is not a task that runs: its published ports must be open, and its health check, if it has one,
// must have passed (health.go, pure). All checks are asked by one owner beside the loop (watch.go). A task whose
// container ends is run again as its restart policy says (restart.go), as what it was made of (plan.go): while a service
// is updated, that is not what the service wants now.
//
// The worker learns what containerd has from one listing and from events thereafter. As long as nothing happens
// it asks containerd nothing.
package worker
