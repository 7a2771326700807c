package cluster

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

func image(n int) Spec {
	s := full()
	s.Container.Digest = fmt.Sprintf("sha256:%064d", n)
	return s
}

// versions are the service's own and those that it remembers.
func versions(s Service) []uint64 {
	all := []uint64{s.SpecVersion}
	for _, r := range s.Past {
		all = append(all, r.SpecVersion)
	}
	return all
}

func TestServiceChanges(t *testing.T) {
	now := time.Unix(1, 0)
	v := func(n int) uint64 { return SpecVersion(image(n)) }
	first := Service{ID: "s", Spec: image(1), SpecVersion: v(1)}
	s := first.Changed(image(2), now)
	if got, want := versions(s), []uint64{v(2), v(1)}; !slices.Equal(got, want) || s.Generation != 1 || !s.UpdatedAt.Equal(now) {
		t.Fatalf("versions %d, want %d; generation %d at %s", got, want, s.Generation, s.UpdatedAt)
	}
	if len(first.Past) != 0 || first.SpecVersion != v(1) {
		t.Errorf("the service before was changed: %+v", first)
	}
	// What no container knows of makes no new version, and the spec with it is the one to go back to.
	relabelled := image(2)
	relabelled.Labels = nil
	if s := s.Changed(relabelled, now); !slices.Equal(versions(s), []uint64{v(2), v(2), v(1)}) {
		t.Errorf("after a change of labels: versions %d", versions(s))
	}
	for n := 3; n <= 6; n++ {
		s = s.Changed(image(n), now)
	}
	if got, want := versions(s), []uint64{v(6), v(5), v(4), v(3)}; !slices.Equal(got, want) {
		t.Errorf("after many changes: versions %d, want the last ones, %d", got, want)
	}
	if spec, ok := s.SpecOf(v(4)); !ok || spec.Container.Digest != image(4).Container.Digest {
		t.Errorf("the spec of version 4 is %v, %v", spec.Container.Digest, ok)
	}
	if _, ok := s.SpecOf(v(1)); ok {
		t.Error("a version that is forgotten has a spec")
	}
	// The same spec again is the same version again.
	if again := s.Changed(image(4), now); again.SpecVersion != v(4) || slices.Contains(versions(again)[1:], v(4)) {
		t.Errorf("back to an earlier spec: versions %d", versions(again))
	}
}

func TestRollback(t *testing.T) {
	now := time.Unix(1, 0)
	s := Service{ID: "s", Spec: image(1), SpecVersion: 1}
	if _, err := s.RolledBack(false, now); !errors.Is(err, ErrNoPrevious) {
		t.Errorf("a service that was never changed: %v", err)
	}
	s = s.Changed(image(2), now).Scaled(7, now)
	back, err := s.RolledBack(false, now)
	if err != nil || back.SpecVersion != 1 || !back.RollingBack || back.Generation != 2 {
		t.Fatalf("rolled back: %v, version %d, rolling back %v, generation %d", err, back.SpecVersion, back.RollingBack, back.Generation)
	}
	if back.Spec.Replicas != 7 {
		t.Errorf("the rollback undid the scaling: %d replicas, want 7", back.Spec.Replicas)
	}
	if s.Past[0].Spec.Replicas != 7 || image(1).Replicas == 7 {
		t.Error("scaling did not reach the earlier spec")
	}
	// Going back from going back is going forward, unless it failed.
	if forth, err := back.RolledBack(false, now); err != nil || forth.SpecVersion != s.SpecVersion {
		t.Errorf("forward again: %v, version %d, want %d", err, forth.SpecVersion, s.SpecVersion)
	}
	failed, err := s.RolledBack(true, now)
	if err != nil || failed.SpecVersion != 1 {
		t.Fatalf("after a failure: %v, version %d", err, failed.SpecVersion)
	}
	if again, err := failed.RolledBack(false, now); !errors.Is(err, ErrNoPrevious) {
		t.Errorf("a rollback leads to what failed: %v, version %d", err, again.SpecVersion)
	}
	if _, ok := failed.SpecOf(s.SpecVersion); !ok {
		t.Error("tasks of the failed spec that still run have lost it")
	}
	if next := failed.Changed(image(3), now); next.RollingBack {
		t.Error("an update after a rollback counts as one")
	}
}

func TestSpecVersion(t *testing.T) {
	v := SpecVersion(image(1))
	if v == 0 || v >= 1<<53 {
		t.Errorf("version %d is none that every reader of JSON understands", v)
	}
	same, other := image(1), image(1)
	same.Labels, same.Ports, same.Container.Platforms, same.Container.Env = nil, nil, nil, slices.Clone(same.Container.Env)
	other.Force++
	if SpecVersion(same) != v || SpecVersion(other) == v {
		t.Errorf("versions %d, %d, %d: want the first two alike", v, SpecVersion(same), SpecVersion(other))
	}
}

func TestStartsFirst(t *testing.T) {
	plain := Spec{Ports: []Port{{80, 80, TCP, PortIngress}}, Container: Container{Mounts: []Mount{{Type: MountTmpfs, Target: "/tmp"}}}}
	host, volume, device := plain, plain, plain
	host.Ports = []Port{{80, 80, TCP, PortHost}}
	volume.Container.Mounts = []Mount{{Type: MountVolume, Source: "data", Target: "/data"}}
	device.Container.Devices = []Device{{"/dev/x", "/dev/x", "rwm"}}
	for _, c := range []struct {
		what  string
		spec  Spec
		order Order
		want  bool
	}{
		{"plain", plain, OrderAuto, true},
		{"plain", plain, StopFirst, false},
		{"host port", host, OrderAuto, false},
		{"host port", host, StartFirst, true},
		{"volume", volume, OrderAuto, false},
		{"device", device, OrderAuto, false},
	} {
		if got := c.spec.StartsFirst(UpdateConfig{Order: c.order}); got != c.want {
			t.Errorf("%s, order %q: starts first %v, want %v", c.what, c.order, got, c.want)
		}
	}
}
