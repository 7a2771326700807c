package containerstest

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func TestFakeKeepsContract(t *testing.T) {
	Run(t, func(*testing.T) Subject {
		f := &Fake{}
		f.AddImage("sha256:1")
		f.OfferImage("sha256:2")
		health := cluster.Health{Cmd: []string{"/check"}, Interval: time.Second}
		f.SetHealth("sha256:1", health)
		return Subject{
			Runtime: f, Digest: "sha256:1", Health: health,
			Up:      func(string) bool { return true },
			Offered: containers.PullRequest{Ref: "two", Digest: "sha256:2"},
			Nowhere: containers.PullRequest{Ref: "three", Digest: "sha256:3"},
		}
	})
}

func TestFakeFollowsScript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &Fake{}
		f.OfferImage("sha256:1")
		f.SlowPull(time.Minute)
		broken := errors.New("broken")
		f.FailPull("sha256:1", broken)
		ctx := t.Context()

		begun := time.Now()
		if err := f.Pull(ctx, containers.PullRequest{Digest: "sha256:1"}); !errors.Is(err, broken) || time.Since(begun) != time.Minute {
			t.Fatalf("slow broken pull: %v after %s", err, time.Since(begun))
		}
		f.FailPull("sha256:1", nil)
		if err := f.Pull(ctx, containers.PullRequest{Digest: "sha256:1"}); err != nil {
			t.Fatal(err)
		}

		f.CrashAfterStart("web", time.Second, 2)
		spec := containers.Spec{ID: "t1", Task: containers.Task{Service: "web", Slot: 1, SpecVersion: 4}, Container: cluster.Container{Digest: "sha256:1"}}
		if err := errors.Join(f.Create(ctx, spec), f.Start(ctx, "t1")); err != nil {
			t.Fatal(err)
		}
		if got, want := f.String(), "t1 web.1 v4 running\n"; got != want {
			t.Errorf("state is %q, want %q", got, want)
		}
		time.Sleep(time.Second + 1)
		synctest.Wait()
		if got, want := f.String(), "t1 web.1 v4 stopped 2\n"; got != want {
			t.Errorf("state is %q, want %q", got, want)
		}
		want := []string{"pull sha256:1", "pull sha256:1", "create t1", "start t1"}
		if got := f.Calls(); !slices.Equal(got, want) {
			t.Errorf("calls are %q, want %q", got, want)
		}
	})
}
