package client

import (
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// Status is the answer of GET /v1/status, and what `piswarm status --format json` prints.
type Status struct {
	Cluster  string          `json:"cluster"`
	Leader   string          `json:"leader"` // name of the leading node; empty while there is none
	Nodes    []NodeStatus    `json:"nodes"`
	Services []ServiceStatus `json:"services"`
}

// NodeStatus is one line of a list of nodes.
type NodeStatus struct {
	ID           string               `json:"id"`
	Name         string               `json:"name"`
	Address      string               `json:"address"`
	State        cluster.Condition    `json:"state"`
	Availability cluster.Availability `json:"availability"`
	Leader       bool                 `json:"leader"`
	OS           string               `json:"os"`
	Arch         string               `json:"arch"`
	Variant      string               `json:"variant"`
	Tasks        int                  `json:"tasks"` // that shall run there
	Warnings     []string             `json:"warnings"`
}

// ServiceStatus is one line of a list of services.
type ServiceStatus struct {
	ID       string         `json:"id"`
	Name     string         `json:"name"`
	Mode     cluster.Mode   `json:"mode"`
	Image    string         `json:"image"`
	Replicas ReplicaCount   `json:"replicas"`
	Ports    []cluster.Port `json:"ports"`
	Update   UpdateStatus   `json:"update"`
}

// ReplicaCount says how many tasks of a service run and how many should.
type ReplicaCount struct {
	Running int `json:"running"`
	Desired int `json:"desired"`
	// Of a job: how many of its tasks have succeeded, and how many are to.
	Completed int `json:"completed,omitempty"`
	Total     int `json:"total,omitempty"`
}

// UpdateStatus says how far the last change of a service is. It is completed for a service that was never changed.
type UpdateStatus struct {
	State   cluster.UpdateState `json:"state"`
	Message string              `json:"message,omitempty"` // why it is paused, or went back
}

// Shutdown is what is desired of a task that is over and not run again.
const Shutdown cluster.State = "shutdown"

// Task is one line of a list of tasks.
type Task struct {
	ID      string        `json:"id"`
	Service string        `json:"service"`
	Slot    int           `json:"slot"`
	Node    string        `json:"node"` // name
	NodeID  string        `json:"nodeId,omitempty"`
	Image   string        `json:"image"`
	Desired cluster.State `json:"desired"` // running, stopping, complete (of a job) or shutdown
	State   cluster.State `json:"state"`
	Address string        `json:"address"`
	Since   time.Time     `json:"since"`
	Error   string        `json:"error"`
	// ExitCode is that of a task that has failed.
	ExitCode int `json:"exitCode,omitempty"`
	// SpecVersion is that of the spec that the task was made from.
	SpecVersion uint64 `json:"specVersion,omitempty"`
}

// Service is the answer of GET /v1/services/{name}: what the user asked for and what became of it.
type Service struct {
	cluster.Service
	// Version is that of the whole record, for ServiceUpdate.
	Version string        `json:"version"`
	Status  ServiceStatus `json:"status"`
}

// ServiceUpdate is the body of PUT /v1/services/{name}: the service as it is to be. What it leaves out is as if it had
// been left out when the service was created. The image is looked up anew if its reference or its digest is another one
// (an empty digest is), or Spec.Force.
type ServiceUpdate struct {
	Spec cluster.Spec `json:"spec"`
	// Version is what GET /v1/services/{name} answered with. If the service was changed since, nothing is written.
	Version string `json:"version"`
}

// Node is the answer of GET /v1/nodes/{name}: all that is known of a node.
type Node struct {
	NodeStatus
	Role        cluster.Role        `json:"role"`
	Labels      map[string]string   `json:"labels"`
	Description cluster.Description `json:"description"`
	Images      []cluster.Image     `json:"images"`
	// Version is that of the node's settings, for NodeUpdate.
	Version string `json:"version"`
}

// NodeUpdate is the body of PATCH /v1/nodes/{name}. What is nil or empty stays as it is.
type NodeUpdate struct {
	Availability cluster.Availability `json:"availability,omitempty"`
	Role         cluster.Role         `json:"role,omitempty"`
	LabelsAdd    map[string]string    `json:"labelsAdd,omitempty"`
	LabelsRemove []string             `json:"labelsRemove,omitempty"`
	// Version, if given, is what GET /v1/nodes/{name} answered with. If the settings were changed since, nothing is written.
	Version string `json:"version,omitempty"`
}

// Scale is the body of POST /v1/services/{name}/scale.
type Scale struct {
	Replicas int `json:"replicas"`
}

// Written is the answer to every write: how far it has been handed on by the time the call returned.
type Written struct {
	ID string `json:"id,omitempty"` // of what was created
	// Holders counts the nodes that hold the write on disk, this one included.
	Holders int `json:"holders"`
	// Warning is for the user; empty when the write is as safe as it should be.
	Warning string `json:"warning,omitempty"`
}

// Image is one line of a list of images: what one or more nodes hold.
type Image struct {
	Name      string   `json:"name"`
	Digest    string   `json:"digest"`
	SizeBytes int64    `json:"sizeBytes"`
	Nodes     []string `json:"nodes"` // names of those that hold it
}

// ImageResolved is the answer of GET /v1/images/resolve: what a reference means, here, on other nodes or at its registry.
type ImageResolved struct {
	Name      string             `json:"name"` // normalised
	Digest    string             `json:"digest"`
	Platforms []cluster.Platform `json:"platforms"` // none: not known
}

// ImageTag is the body of POST /v1/images/tag.
type ImageTag struct {
	Name   string `json:"name"`   // of an image that the node holds
	Target string `json:"target"` // the name that it gets besides
}

// ImagePull is the body of POST /v1/images/pull.
type ImagePull struct {
	Image string `json:"image"`
}

// Progress is one line of the answer to a long request (application/x-ndjson): a step done, or the end. The
// last line has Done or Error set.
type Progress struct {
	Message string          `json:"message,omitempty"`
	Current int64           `json:"current,omitempty"` // bytes
	Total   int64           `json:"total,omitempty"`   // bytes; 0: not known
	Images  []cluster.Image `json:"images,omitempty"`  // with Done: what was loaded or pulled
	// Rotation, with Done, is how the change of the token ended.
	Rotation *Rotation `json:"rotation,omitempty"`
	Done     bool      `json:"done,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// File is one line of a list of secrets or of configs, and all that is ever shown of a secret.
type File struct {
	cluster.Head
	Services []string `json:"services"` // names of those that use it
}

// Config is the answer of GET /v1/configs/{name}.
type Config struct {
	File
	Data []byte `json:"data"`
}

// FileCreate is the body of POST /v1/secrets and of POST /v1/configs.
type FileCreate struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
	Data   []byte            `json:"data"`
}

// Network is one line of a list of networks.
type Network struct {
	cluster.Network
	Services []string `json:"services"` // names of those that belong to it
}

// NetworkCreate is the body of POST /v1/networks.
type NetworkCreate struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
}

// Init is the body of POST /v1/init.
type Init struct {
	Name string `json:"name"` // of the cluster
	Pool string `json:"pool"` // pod network, for example 10.77.0.0/16
}

// Join is the body of POST /v1/join.
type Join struct {
	Token     string   `json:"token"`
	Addresses []string `json:"addresses,omitempty"` // of members, where mDNS does not reach
}

// Token is the answer of GET /v1/token and of POST /v1/init.
type Token struct {
	Token string `json:"token"`
}

// Rotation is how POST /v1/token/rotate ended. Nodes are named as the list of nodes names them.
type Rotation struct {
	Token string   `json:"token"` // the new one
	Nodes []string `json:"nodes"` // that have it
	// Missing are known nodes that were off, and need the new token to come back.
	Missing []string `json:"missing"`
	// Behind have the new token and accept the old one still, because they stopped answering.
	Behind []string `json:"behind"`
}

// Version is the answer of GET /v1/version.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	Node    string `json:"node"` // name of the node asked
	// NodeID and ClusterID are those of the agent's node. A node in no cluster has no ClusterID.
	NodeID    string `json:"nodeId,omitempty"`
	ClusterID string `json:"clusterId,omitempty"`
	// Address is that of the node on its LAN, empty as long as it has none.
	Address string `json:"address,omitempty"`
}

// Event tells that something changed; the receiver asks again for what it shows. Events may be merged, never
// lost: after a change, an event follows.
type Event struct {
	// Kind is what changed: service, task, node, secret or config, with the fields below; or, without an Action and only
	// for who shows what is not told here, a service, node, plan, report, or the members.
	Kind string `json:"kind"`
	// Action is what became of it. Of a service: created, updated, scaled, removed, or how far an update is
	// (updating, completed, paused, …). Of a task: its state, or removed. Of a node: its state, its availability, added,
	// leader, labels or removed. Of a secret and a config: created or removed.
	Action  string `json:"action,omitempty"`
	Name    string `json:"name"` // of the service, task or node; empty for several
	ID      string `json:"id,omitempty"`
	Service string `json:"service,omitempty"` // of a task
	Node    string `json:"node,omitempty"`    // name, of a task's
	Text    string `json:"text,omitempty"`    // one line for people: why
	// Time is when the agent that is asked learned of it, by its clock.
	Time time.Time `json:"time,omitzero"`
}

// Problem is the body of every answer with a status of 400 or more.
type Problem struct {
	// Error is one line that says what failed, on what, and what to do.
	Error string `json:"error"`
}

// UpgradeKind is how piswarm is installed on a node.
type UpgradeKind string

const (
	UpgradePackage UpgradeKind = "deb"     // as a Debian package
	UpgradeProgram UpgradeKind = "program" // as a program, without any package manager
)

// UpgradeProgress says how far an upgrade is.
type UpgradeProgress string

const (
	UpgradeWorking UpgradeProgress = "working"
	UpgradeDone    UpgradeProgress = "done"
	UpgradeFailed  UpgradeProgress = "failed" // and the node is back at what it had
)

// Upgrade is the answer of GET /v1/nodes/{name}/upgrade: what a node has of piswarm, and how its last upgrade went.
type Upgrade struct {
	Kind UpgradeKind `json:"kind"`
	// Platform is what a file has to be for: dpkg's architecture (armhf), or that of a program (linux-armv6).
	Platform  string       `json:"platform"`
	Installed string       `json:"installed"` // version of the package, or the program's SHA-256
	Version   string       `json:"version"`   // of the agent
	Last      UpgradeState `json:"last"`
}

// UpgradeState is how an upgrade of a node goes, or went. Empty, there was none.
type UpgradeState struct {
	State   UpgradeProgress `json:"state,omitempty"`
	SHA256  string          `json:"sha256,omitempty"`  // of the file
	Message string          `json:"message,omitempty"` // what is being done
	Version string          `json:"version,omitempty"` // of the agent at the end
	Error   string          `json:"error,omitempty"`   // why it failed
}

// UpgradeFile is what is offered to a node, in the query of POST /v1/nodes/{name}/upgrade; the body is the file itself.
type UpgradeFile struct {
	Kind      UpgradeKind
	SHA256    string // in hexadecimal digits
	Size      int64
	Downgrade bool // take a package also if it is older than what is installed
}
