package cluster

import "time"

// State is where a task is in its life. States of a plan's Desired are only Running; a task that shall not run
// is not in the plan.
type State string

const (
	Pending   State = "pending"   // fits on no node, or not placed yet
	Preparing State = "preparing" // the node fetches the image
	Starting  State = "starting"  // the container is being made
	Running   State = "running"
	Unhealthy State = "unhealthy" // runs, but does not pass its health check
	Stopping  State = "stopping"  // was told to end
	Complete  State = "complete"  // ended with exit code 0
	Failed    State = "failed"    // ended with another; the node restarts it after a pause
	Rejected  State = "rejected"  // the node cannot run it; Error says why
	Orphaned  State = "orphaned"  // its node is gone
)

// Plan is the leader's placement of one service, and the value of a plan/<service name> record.
type Plan struct {
	// ServiceID is the service this plan is for. A plan of an earlier service of the same name counts as none.
	ServiceID string `json:"serviceID"`
	Tasks     []Task `json:"tasks"` // in order of slot, then node
	// Retired is the highest Attempt among the tasks that this plan once had and dropped. A slot that comes
	// back counts on from there, so that no two containers of a service ever share a task ID.
	Retired uint64 `json:"retired,omitempty"`
	// Update is how far the tasks follow the service's spec.
	Update Update `json:"update,omitzero"`
}

// Task is one container of a service.
type Task struct {
	ID          string `json:"id"`
	Slot        int    `json:"slot"` // 1…n; 0 for a task of a global service
	Node        string `json:"node,omitempty"`
	SpecVersion uint64 `json:"specVersion"`
	// Reason says, while Node is empty, why the task fits nowhere: one clause a filter.
	Reason string `json:"reason,omitempty"`
	// Attempt counts the placements of this slot. It makes the ID of a re-placed task a new one.
	Attempt uint64 `json:"attempt"`
	// Avoid lists, sorted, the nodes on which this slot was rejected or kept failing with this SpecVersion.
	Avoid []string `json:"avoid,omitempty"`
	// Replaces is the ID of a task in the same plan that goes on serving until this one is ready, and is then
	// dropped. Only both together are a move; they share a slot. One that names a task which is not there replaces
	// nothing; the leader clears it with its next plan.
	Replaces string `json:"replaces,omitempty"`
	// Follows is the ID of a task, dropped from the plan, that must have ended before this one starts.
	Follows string `json:"follows,omitempty"`
	// Ended says that the task has run and is not run again: complete or failed. It needs no node any more.
	Ended State `json:"ended,omitempty"`
}

// TaskStatus is what the node of a task says about it.
type TaskStatus struct {
	ID          string `json:"id"`
	Service     string `json:"service"` // name
	ServiceID   string `json:"serviceID"`
	Slot        int    `json:"slot"`
	SpecVersion uint64 `json:"specVersion"`
	State       State  `json:"state"`
	Address     string `json:"address,omitempty"` // in the pod network; empty without one
	// Since is when State was entered, by the node's clock, for people.
	Since    time.Time `json:"since"`
	Error    string    `json:"error,omitempty"`
	ExitCode int       `json:"exitCode,omitempty"`
	Restarts int       `json:"restarts,omitempty"` // of this task on its node
	// Final says that the node will not run the task again: its restart policy is at its end.
	Final bool `json:"final,omitempty"`
}

// Ready tells whether the task may be sent requests.
func (t TaskStatus) Ready() bool { return t.State == Running && t.Address != "" }
