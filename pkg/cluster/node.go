package cluster

// Availability is what the user allows a node to do.
type Availability string

const (
	Active Availability = "active"
	Pause  Availability = "pause" // keeps its tasks, takes no new ones
	Drain  Availability = "drain" // gives its tasks away
)

// Role says whether a node may lead.
type Role string

const (
	Manager Role = "manager" // may become the leader
	Worker  Role = "worker"  // never leads
)

// Settings is what the user set for a node, and the value of a node/<id> record. A node writes the first
// one itself when it joins; from then on it counts as known, also while it is off.
type Settings struct {
	Name         string            `json:"name"` // the host name it joined with
	Availability Availability      `json:"availability"`
	Role         Role              `json:"role"`
	Labels       map[string]string `json:"labels,omitempty"`
}

// Removed says that the user removed a node from the cluster, and is the value of a removed/<id> record. It lasts: no
// node of that ID is a member any more, on whatever it says. The same machine comes back as another node.
type Removed struct {
	Name string `json:"name"` // the host name that it had
}

// ClusterSettings is what holds for the whole cluster, and the value of the record SettingsKey.
type ClusterSettings struct {
	Name string `json:"name"`
	Pool string `json:"pool"` // the pod network, for example 10.77.0.0/16
	// Former are public IDs that the cluster had under tokens of before, the latest last.
	Former []string `json:"former,omitempty"`
}

// Condition is what the membership says of a node.
type Condition string

const (
	Ready Condition = "ready"
	Down  Condition = "down"
	Left  Condition = "left"
	// Waiting is a node of the LAN that is in no cluster: it is no member, and nothing counts on it.
	Waiting Condition = "waiting"
)

// Platform is an operating system and processor in the words of OCI images: linux/arm/v6, linux/arm64.
type Platform struct {
	OS      string `json:"os"`
	Arch    string `json:"arch"`
	Variant string `json:"variant,omitempty"`
}

func (p Platform) String() string {
	if p.Variant == "" {
		return p.OS + "/" + p.Arch
	}
	return p.OS + "/" + p.Arch + "/" + p.Variant
}

// Runs tells whether a node of platform p can run an image of platform image. A newer ARM processor runs what
// was built for an older one (v8 runs v7, v6, v5 of 32 bits), never the other way round. A 64-bit ARM kernel
// is taken to run 32-bit ARM images too, as every 64-bit Raspberry Pi does up to the Pi 4.
func (p Platform) Runs(image Platform) bool {
	if p.OS != image.OS {
		return false
	}
	switch {
	case p.Arch == image.Arch && p.Arch == "arm":
		return armVersion(p.Variant) >= armVersion(image.Variant)
	case p.Arch == image.Arch:
		return true
	case p.Arch == "arm64" && image.Arch == "arm":
		return true
	}
	return false
}

// armVersion is the number in an ARM variant. An image without one is for v7, as the OCI registry says.
func armVersion(variant string) int {
	if len(variant) == 2 && variant[0] == 'v' && variant[1] >= '5' && variant[1] <= '9' {
		return int(variant[1] - '0')
	}
	return 7
}

// Description is what a node is.
type Description struct {
	Hostname    string   `json:"hostname"`
	Address     string   `json:"address"` // on the LAN
	MAC         string   `json:"mac"`     // of the LAN interface
	Subnet      string   `json:"subnet"`  // the node's /24 of the pod network
	Platform    Platform `json:"platform"`
	Capacity    Amount   `json:"capacity"`
	MemoryLimit bool     `json:"memoryLimit"` // the kernel can limit a container's memory
	Model       string   `json:"model,omitempty"`
	Kernel      string   `json:"kernel,omitempty"`
	Version     string   `json:"version"` // of piswarm
	Runtime     string   `json:"runtime"` // version of containerd
}

// Image is an image that a node holds.
type Image struct {
	Name      string `json:"name"` // normalised reference
	Digest    string `json:"digest"`
	SizeBytes int64  `json:"sizeBytes"`
}

// Report is what a node says about itself, and the value of a report/<id> record.
type Report struct {
	Node  Description  `json:"node"`
	Tasks []TaskStatus `json:"tasks,omitempty"`
	// History are lives of tasks that are over, the latest first: those of containers that ended by themselves, and of
	// tasks that were stopped.
	History  []TaskStatus `json:"history,omitempty"`
	Images   []Image      `json:"images,omitempty"`
	Warnings []string     `json:"warnings,omitempty"`
	// Leaving says that the node is shutting down: its tasks are to be moved while it still serves.
	Leaving bool `json:"leaving,omitempty"`
	// Released lists, sorted, the IDs of tasks, of any node, that run without being planned any more, and that this
	// node's rules lead no new connection to. A node ends such a task when all ready nodes have released it.
	Released []string `json:"released,omitempty"`
}
