package lab

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestServe(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "run", "lab.sock")
	if _, err := Connect(t.Context(), socket); !errors.Is(err, ErrNoLab) {
		t.Errorf("no lab: error %v", err)
	}
	opt := testOptions(t, 1)
	l, err := Start(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	ready, served := make(chan struct{}), make(chan error, 1)
	go func() { served <- Serve(t.Context(), l, socket, func() { close(ready) }) }()
	<-ready
	if info, err := os.Stat(filepath.Dir(socket)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's directory: %v, error %v", info.Mode(), err)
	}
	r, err := Connect(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	hosts, err := r.List(t.Context())
	if err != nil || len(hosts) != 2 || hosts[0] != l.List()[0] {
		t.Errorf("hosts %+v, error %v", hosts, err)
	}
	var out bytes.Buffer
	if code, err := r.Exec(t.Context(), "pi1", []string{"sh", "-c", "hostname; exit 3"}, Stdio{Out: &out}); code != 3 || err != nil || out.String() != "pi1\n" {
		t.Errorf("exec: code %d, error %v, output %q", code, err, &out)
	}
	if _, err := r.Exec(t.Context(), "../x", []string{"true"}, Stdio{}); err == nil || !strings.Contains(err.Error(), `no host "../x"`) {
		t.Errorf("odd host: error %v", err)
	}
	if err := r.Loss(t.Context(), "pi1", 20); err != nil || l.List()[0].Loss != 20 {
		t.Errorf("loss: %+v, error %v", l.List()[0], err)
	}
	if err := r.Split(t.Context(), []string{"pi1"}, []string{"laptop"}); err != nil || l.List()[0].Group != 1 || l.List()[1].Group != 2 {
		t.Errorf("split: %+v, error %v", l.List(), err)
	}
	if err := r.Unsplit(t.Context()); err != nil || l.List()[0].Group != 0 {
		t.Errorf("unsplit: %+v, error %v", l.List(), err)
	}
	if err := r.Readdress(t.Context(), "pi1", netip.MustParseAddr("192.168.77.1")); err == nil || !strings.Contains(err.Error(), "the router has it") {
		t.Errorf("readdress: error %v", err)
	}
	if err := r.Clone(t.Context(), "laptop", "pi1"); err == nil || !strings.Contains(err.Error(), "clone laptop to pi1: laptop is on") {
		t.Errorf("clone: error %v", err)
	}
	state := func() string {
		hosts, err := r.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return hosts[0].Power + " " + hosts[0].Network
	}
	for _, step := range []struct {
		do   func(context.Context, string) error
		want string
	}{
		{r.Cut, "on cut"}, {r.Heal, "on up"}, {r.PowerOff, "off up"}, {r.PowerOn, "on up"},
		{r.Shutdown, "off up"}, {r.PowerOn, "on up"},
	} {
		if err := step.do(t.Context(), "pi1"); err != nil || state() != step.want {
			t.Errorf("pi1 is %s, want %s; error %v", state(), step.want, err)
		}
	}
	if err := r.Down(t.Context()); err != nil {
		t.Errorf("down: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if _, err := os.Stat(opt.Dir); err == nil {
		t.Error("the lab's directory is still there")
	}
	if _, err := r.List(t.Context()); err == nil {
		t.Error("the lab is still served")
	}
}
