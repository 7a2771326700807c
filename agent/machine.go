package agent

import (
	"context"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/agent/internal/doctor"
	"github.com/piswarm/piswarm/pkg/cluster"
)

// machine knows what this node is made of.
type machine struct {
	runtime *containers.Runtime
	name    string
	monitor *doctor.Monitor

	mu      sync.Mutex
	info    containers.Info
	trouble string // why info is not known
}

func newMachine(runtime *containers.Runtime, name string) *machine {
	return &machine{runtime: runtime, name: name, monitor: doctor.NewMonitor(doctor.This()), trouble: "containerd was not asked yet"}
}

// run asks containerd what it is until it answers, and then tells.
func (m *machine) run(ctx context.Context, changed func()) error {
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		info, err := m.runtime.Info(ctx)
		m.mu.Lock()
		m.info, m.trouble = info, ""
		if err != nil {
			m.trouble = err.Error()
		}
		m.mu.Unlock()
		if ctx.Err() != nil {
			return nil
		}
		changed()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// describe is what the node's report says about the node itself.
func (s *session) describe() (cluster.Description, []string) {
	m := s.machine
	m.mu.Lock()
	info, trouble := m.info, m.trouble
	m.mu.Unlock()
	var warnings []string
	if s.agent.notice != "" {
		warnings = append(warnings, s.agent.notice)
	}
	warnings = append(warnings, s.secretWarnings()...)
	warnings = append(warnings, s.agent.watchdog.Stuck()...)
	if trouble != "" {
		warnings = append(warnings, trouble)
	}
	warnings = append(warnings, m.monitor.Warnings()...)
	d := cluster.Description{
		Hostname: m.name, Address: s.lan.Address.String(), MAC: s.lan.MAC,
		Platform: info.Platform, Capacity: capacity(), MemoryLimit: info.MemoryLimit,
		Model: model(), Kernel: kernel(), Version: Version, Runtime: info.Version,
	}
	if subnet := s.place.subnet(); subnet.IsValid() {
		d.Subnet = subnet.String()
	}
	return d, warnings
}

// capacity is what the node has in all.
func capacity() cluster.Amount {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return cluster.Amount{}
	}
	return cluster.Amount{
		MemoryBytes: int64(uint64(info.Totalram) * uint64(info.Unit)),
		NanoCPUs:    int64(runtime.NumCPU()) * 1e9,
	}
}

// model is the board's, as in "Raspberry Pi Zero W Rev 1.1".
func model() string {
	raw, err := os.ReadFile("/sys/firmware/devicetree/base/model")
	if err != nil {
		return ""
	}
	return strings.TrimRight(string(raw), "\x00\n ")
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
