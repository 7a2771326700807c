package containers

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/identifiers"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// ErrRejected is the kind of every error that trying again on this node cures only if something about the node
// or the service is changed: a mount's source is missing, the image has no such user, and the like.
var ErrRejected = errors.New("rejected")

// rejection is an ErrRejected that keeps its own words.
type rejection struct{ error }

func (rejection) Is(target error) bool { return target == ErrRejected }
func (r rejection) Unwrap() error      { return r.error }

func rejectf(format string, args ...any) error { return rejection{fmt.Errorf(format, args...)} }

// Task is what a container belongs to. It lives in labels of the container, from which a restarted agent reads
// it back.
type Task struct {
	Service     string // name
	ServiceID   string
	Slot        int
	SpecVersion uint64
}

// Spec is one container to be made.
type Spec struct {
	ID string // of the task
	Task
	Container cluster.Container // Digest must be set, and the image be here
	Resources cluster.Resources
	// NetNS is the path of the network namespace to enter. Without one the container is alone with a loopback.
	NetNS string
	// Hostname is used where Container has none.
	Hostname string
	// Hosts and ResolvConf are the contents of /etc/hosts and /etc/resolv.conf. If empty, the image's are used.
	Hosts      string
	ResolvConf string
	Files      []File
}

// State is what a container does.
type State string

const (
	Created State = "created" // made and never started
	Running State = "running"
	Stopped State = "stopped" // ended, or lost with a reboot
)

// Container is one that exists.
type Container struct {
	ID string
	Task
	Digest string // of the image
	State  State
	PID    int // while running
	// ExitCode of one that stopped. It is 255, as in docker, for one that ended while nobody could see how.
	ExitCode int
	ExitedAt time.Time // zero where not known
	// OOMKilled tells of one that stopped whether the kernel killed something in it for want of memory.
	OOMKilled bool
	// StartedAt is when the container was made, which is right before its only start. Zero while State is
	// Created.
	StartedAt time.Time
}

// lostExitCode stands for an exit that nobody saw.
const lostExitCode = 255

// Labels of a container in containerd.
const (
	labelPrefix      = "piswarm/"
	labelService     = labelPrefix + "service"
	labelServiceID   = labelPrefix + "service-id"
	labelSlot        = labelPrefix + "slot"
	labelTask        = labelPrefix + "task"
	labelSpecVersion = labelPrefix + "spec-version"
	labelDigest      = labelPrefix + "digest"
	labelGroup       = labelPrefix + "group"
	labelStopSignal  = labelPrefix + "stop-signal"
)

// maxLabel is the most that containerd takes as key and value of one label together.
const maxLabel = 4096

// labels are those that the container gets: the user's, so that ctr shows them, and over them piswarm's.
func (s Spec) labels(group, stopSignal string) map[string]string {
	labels := map[string]string{}
	for key, value := range s.Container.Labels {
		// containerd acts on labels of its own prefix, and keeps no long ones.
		if len(key)+len(value) <= maxLabel && !strings.HasPrefix(key, "containerd.io/") && !strings.HasPrefix(key, labelPrefix) {
			labels[key] = value
		}
	}
	labels[labelTask] = s.ID
	labels[labelService] = s.Service
	labels[labelServiceID] = s.ServiceID
	labels[labelSlot] = strconv.Itoa(s.Slot)
	labels[labelSpecVersion] = strconv.FormatUint(s.SpecVersion, 10)
	labels[labelDigest] = s.Container.Digest
	labels[labelGroup] = group
	labels[labelStopSignal] = stopSignal
	return labels
}

// taskOf reads back what labels wrote. A number that is none reads as 0: such a container belongs to no task of
// any plan and is removed as surplus.
func taskOf(labels map[string]string) Task {
	slot, _ := strconv.Atoi(labels[labelSlot])
	version, _ := strconv.ParseUint(labels[labelSpecVersion], 10, 64)
	return Task{Service: labels[labelService], ServiceID: labels[labelServiceID], Slot: slot, SpecVersion: version}
}

func (s Spec) validate() error {
	if err := checkID(s.ID); err != nil {
		return err
	}
	if s.ServiceID == "" || s.Container.Digest == "" {
		return rejectf("create %s: want the ID of its service and the digest of its image", s.ID)
	}
	return nil
}

// checkID refuses an ID that containerd would refuse. It comes first, since the ID becomes part of paths.
func checkID(id string) error {
	if err := identifiers.Validate(id); err != nil {
		return rejectf("bad container ID %q: %w", id, err)
	}
	return nil
}
