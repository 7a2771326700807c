package worker

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// secretive writes a service that uses the secret db and the config app.
func (r *rig) secretive() {
	r.t.Helper()
	r.put(cluster.ServiceKey("web"), cluster.Service{ID: "web-id", SpecVersion: 1, Spec: cluster.Spec{
		Name: "web", Mode: cluster.Replicated, Container: cluster.Container{
			Image: "docker.io/library/web:1", Digest: digest,
			Secrets: []cluster.FileRef{{Name: "db", ID: "db-id", Target: "/run/secrets/db", UID: 7, GID: 8, Mode: 0o400}},
			Configs: []cluster.FileRef{{Name: "app", ID: "app-id", Target: "/app", Mode: 0o444}},
		},
	}})
}

func (r *rig) secret(id, sealed string) {
	r.t.Helper()
	r.put(cluster.SecretKey("db"), cluster.Secret{Head: cluster.Head{ID: id, Name: "db"}, Sealed: []byte(sealed)})
	synctest.Wait()
}

func (r *rig) config() {
	r.t.Helper()
	r.put(cluster.ConfigKey("app"), cluster.Config{Head: cluster.Head{ID: "app-id", Name: "app"}, Data: []byte("on = true")})
	synctest.Wait()
}

// reads is what the container of the first task finds in a file.
func (r *rig) reads(path string) string {
	r.t.Helper()
	got, err := r.runtime.Exec(r.t.Context(), "web.1", []string{"/program", "read", path}, time.Second)
	if err != nil {
		r.t.Fatal(err)
	}
	return got.Output
}

func TestTaskGetsItsFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.secret("db-id", "sealed under secret/db:hush")
		r.config()
		r.secretive()
		r.start()
		r.plan("web", self)
		if got := r.reads("/run/secrets/db"); got != "7:8 0400 hush" {
			t.Errorf("secret: %s", got)
		}
		if got := r.reads("/app"); got != "0:0 0444 on = true" {
			t.Errorf("config: %s", got)
		}
		if record, _ := r.store.Get(cluster.ReportKey(self)); strings.Contains(string(record.Value), "hush") {
			t.Errorf("the report tells the secret: %s", record.Value)
		}
	})
}

// A task waits, and says for what, as long as one of its files cannot be had, and then starts at once.
func TestTaskWaitsForItsFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.secretive()
		r.start()
		r.plan("web", self)
		for _, step := range []struct {
			comes func()
			waits string
		}{
			{func() {}, "waits for secret db: it has not come to this node yet"},
			{func() { r.secret("another-id", "sealed under secret/db:hush") }, "waits for secret db: the one by that name is not the one that the service was given: piswarm update --secret-add db gives it that"},
			{func() { r.secret("db-id", "sealed under secret/other:hush") }, "waits for secret db: it is sealed with another secret"},
			{func() { r.secret("db-id", "sealed under secret/db:hush") }, "waits for config app: it has not come to this node yet"},
		} {
			step.comes()
			same(t, "reported", r.told(), "web.1 pending  "+step.waits+"\n")
		}
		// It fails at nothing while it waits, and no container is made and removed.
		before, writes := len(r.runtime.Calls()), r.writes()
		after(time.Minute)
		if calls := r.runtime.Calls(); len(calls) != before || r.writes() != writes {
			t.Errorf("while it waits: %q, %d reports", calls[before:], r.writes()-writes)
		}
		if status := r.report().Tasks[0]; status.Restarts != 0 || status.Final {
			t.Errorf("while it waits: %+v", status)
		}
		r.config()
		same(t, "reported", r.told(), "web.1 running 10.77.3.2\n")
	})
}

// A restarted agent adopts a container with its files, and asks for none of them, also if they are gone by then.
func TestAdoptedTaskKeepsItsFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.secret("db-id", "sealed under secret/db:hush")
		r.config()
		r.secretive()
		stop := r.start()
		r.plan("web", self)
		stop()
		r.secret("db-id", "nonsense")
		before := len(r.runtime.Calls())
		r.run()
		after(time.Minute)
		if calls := r.runtime.Calls(); len(calls) != before {
			t.Errorf("after the restart: %q", calls[before:])
		}
		if got := r.reads("/run/secrets/db"); got != "7:8 0400 hush" {
			t.Errorf("secret: %s", got)
		}
	})
}
