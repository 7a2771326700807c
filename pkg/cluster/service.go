package cluster

import (
	"net/netip"
	"time"
)

// Mode says how the number of a service's tasks is decided.
type Mode string

const (
	Replicated Mode = "replicated" // Spec.Replicas tasks
	Global     Mode = "global"     // one task on every node that may run it
	// Jobs end: each task runs until it has succeeded once.
	ReplicatedJob Mode = "replicated-job" // Spec.Replicas successes, Spec.MaxConcurrent at a time
	GlobalJob     Mode = "global-job"     // one on every node that may run it
)

// PerNode tells whether every node that may run the service has one task of it.
func (m Mode) PerNode() bool { return m == Global || m == GlobalJob }

// Job tells whether the service's tasks are to end.
func (m Mode) Job() bool { return m == ReplicatedJob || m == GlobalJob }

// OnPartition says what becomes of a service on the side of a partition that holds less than half of the known
// nodes.
type OnPartition string

const (
	// RunOnPartition makes each side run all of the service by itself, so that it is there for every client.
	RunOnPartition OnPartition = "run"
	// StopOnPartition makes the smaller side run none of it, so that never two sides do. Of two equal sides, both run.
	StopOnPartition OnPartition = "stop"
)

// Strategy says which of two otherwise equal nodes gets a task.
type Strategy string

const (
	Spread  Strategy = "spread"  // the one with more free memory and CPU
	Binpack Strategy = "binpack" // the one with less, as long as the task fits
)

// Service is what the user wants, and the value of a service/<name> record.
type Service struct {
	// ID tells this service from an earlier one of the same name.
	ID string `json:"id"`
	// Spec is the user's wish.
	Spec Spec `json:"spec"`
	// SpecVersion changes with each change of Spec that its running tasks must be replaced for, and is again what it
	// was when Spec is. A change of the number of replicas is not such a change.
	SpecVersion uint64 `json:"specVersion"`
	// Generation grows by one with each update and rollback.
	Generation uint64 `json:"generation,omitempty"`
	// Past are the specs that it had before, the latest first.
	Past []Revision `json:"past,omitempty"`
	// RollingBack says that Spec came by a rollback, so that Spec.Rollback says how tasks are replaced.
	RollingBack bool `json:"rollingBack,omitempty"`
	// VirtualIP is the address that the service's name has inside containers.
	VirtualIP netip.Addr `json:"virtualIP"`
	// CreatedAt and UpdatedAt are for people; nothing is decided by them.
	CreatedAt time.Time `json:"createdAt"`
	UpdatedAt time.Time `json:"updatedAt"`
	// ChangedAt is when the present Generation began: UpdatedAt, unless it was scaled since. For people, too.
	ChangedAt time.Time `json:"changedAt,omitzero"`
}

// Spec is a service as the user describes it.
type Spec struct {
	Name     string            `json:"name"`
	Labels   map[string]string `json:"labels,omitempty"`
	Mode     Mode              `json:"mode"`
	Replicas int               `json:"replicas"` // for modes replicated and replicated-job
	// MaxConcurrent is how many tasks of a replicated job run at a time; 0: all.
	MaxConcurrent int       `json:"maxConcurrent,omitempty"`
	Container     Container `json:"container"`
	Resources     Resources `json:"resources"`
	Placement     Placement `json:"placement"`
	Ports         []Port    `json:"ports,omitempty"`
	// Networks are those that it belongs to, which gives it further names there.
	Networks []NetworkRef `json:"networks,omitempty"`
	// OnPartition says what nodes do that are cut off from most of the others.
	OnPartition OnPartition   `json:"onPartition,omitempty"`
	Restart     RestartPolicy `json:"restart,omitzero"`
	// Update and Rollback say how tasks are replaced after a change, and after a change back.
	Update   UpdateConfig `json:"update,omitzero"`
	Rollback UpdateConfig `json:"rollback,omitzero"`
	// Force grows to have all tasks replaced though nothing else changes.
	Force uint64 `json:"force,omitempty"`
}

// Container is what each task of a service runs.
type Container struct {
	// Image is the normalised reference, for example docker.io/library/nginx:1.27.
	Image string `json:"image"`
	// Digest names the exact bytes (sha256:…), so that every node runs the same ones.
	Digest string `json:"digest"`
	// Platforms are those that the image has. None means not known: any node may try.
	Platforms []Platform `json:"platforms,omitempty"`

	Entrypoint []string          `json:"entrypoint,omitempty"` // replaces the image's
	Args       []string          `json:"args,omitempty"`       // replaces the image's command
	Env        []string          `json:"env,omitempty"`        // NAME=value, over the image's
	Workdir    string            `json:"workdir,omitempty"`
	User       string            `json:"user,omitempty"` // name or uid, optionally :group or :gid
	Hostname   string            `json:"hostname,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Mounts     []Mount           `json:"mounts,omitempty"`
	Secrets    []FileRef         `json:"secrets,omitempty"`
	Configs    []FileRef         `json:"configs,omitempty"`
	Devices    []Device          `json:"devices,omitempty"`
	CapAdd     []string          `json:"capAdd,omitempty"`  // CAP_NET_RAW, …
	CapDrop    []string          `json:"capDrop,omitempty"` // also ALL
	Privileged bool              `json:"privileged,omitempty"`
	ReadOnly   bool              `json:"readOnly,omitempty"` // root file system
	// Init puts a process before the container's own that hands it signals and takes in what it leaves behind.
	Init bool `json:"init,omitempty"`
	// StopSignal is sent first when a task ends; empty means the image's, else SIGTERM.
	StopSignal string `json:"stopSignal,omitempty"`
	// StopGracePeriod is how long the task may take to end before it is killed.
	StopGracePeriod time.Duration `json:"stopGracePeriod,omitempty"`
	Health          Health        `json:"health,omitzero"`
}

// DefaultStopGracePeriod is docker's.
const DefaultStopGracePeriod = 10 * time.Second

// Device is a device node of the host that the container sees.
type Device struct {
	Host        string `json:"host"`
	Container   string `json:"container"`
	Permissions string `json:"permissions"` // of r, w, m
}

// MountType is one of the three kinds of mounts.
type MountType string

const (
	MountBind   MountType = "bind"
	MountVolume MountType = "volume" // a directory that the node keeps under the volume's name
	MountTmpfs  MountType = "tmpfs"
)

// Mount is a file system that the container sees at Target.
type Mount struct {
	Type      MountType `json:"type"`
	Source    string    `json:"source,omitempty"` // bind: path on the node; volume: its name
	Target    string    `json:"target"`
	ReadOnly  bool      `json:"readOnly,omitempty"`
	SizeBytes int64     `json:"sizeBytes,omitempty"` // tmpfs; 0: the kernel's default
}

// Resources are upper limits and what the scheduler keeps free for a task.
type Resources struct {
	Limits       Amount `json:"limits"`
	Reservations Amount `json:"reservations"`
	// Pids is the most processes and threads that a task may have; 0: DefaultPids.
	Pids int64 `json:"pids,omitempty"`
}

// DefaultPids is far more than any service needs on a Pi, and few enough for the smallest Pi to live through a program
// that does nothing but start others.
const DefaultPids = 1024

// Amount is an amount of memory and CPU; zero means none given.
type Amount struct {
	MemoryBytes int64 `json:"memoryBytes,omitempty"`
	NanoCPUs    int64 `json:"nanoCPUs,omitempty"` // 1e9 is one whole core
}

// Add returns the sum of two amounts.
func (a Amount) Add(b Amount) Amount {
	return Amount{a.MemoryBytes + b.MemoryBytes, a.NanoCPUs + b.NanoCPUs}
}

// Placement narrows and orders the nodes that a service's tasks may run on.
type Placement struct {
	Constraints []Constraint `json:"constraints,omitempty"` // every one must hold
	// Spread lists node attributes (node.labels.x) over whose values tasks are spread evenly, the first
	// being the most important.
	Spread     []string `json:"spread,omitempty"`
	MaxPerNode int      `json:"maxPerNode,omitempty"` // 0: no maximum
	Strategy   Strategy `json:"strategy"`
}

// Protocol of a published port.
type Protocol string

const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// PortMode says who answers a published port.
type PortMode string

const (
	PortIngress PortMode = "ingress" // every node, for all ready tasks of the cluster
	PortHost    PortMode = "host"    // a node that runs a task, for that task only
)

// Port is a port of a service's tasks that the nodes answer for.
type Port struct {
	Published uint16   `json:"published"`
	Target    uint16   `json:"target"`
	Protocol  Protocol `json:"protocol"`
	Mode      PortMode `json:"mode"`
}
