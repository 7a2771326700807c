package lab

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ownLab is a process that owns a lab until it is killed.
func ownLab(dir string) {
	binary, err := os.Executable()
	if err != nil {
		panic(err)
	}
	_, err = Start(context.Background(), Options{
		Nodes: 1, Binary: binary, Dir: dir, agent: []string{hostBinary, "stand-in-agent"},
	})
	if err != nil {
		panic(err)
	}
	fmt.Println("up")
	select {}
}

// TestOwnerKilled kills the process that owns a lab, which has no chance to clean up.
func TestOwnerKilled(t *testing.T) {
	opt := testOptions(t, 1)
	before := takeInventory(t, os.Getpid(), opt.Dir)
	owner := exec.Command(opt.Binary, "lab", "own", opt.Dir)
	owner.Stderr = os.Stderr
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "up" {
		t.Fatalf("the owner said %q, error %v", line, err)
	}
	pid := owner.Process.Pid
	if during := takeInventory(t, pid, opt.Dir); len(during.cgroups) == 0 || len(during.processes) < 4 {
		t.Fatalf("the inventory of a lab that is up: %+v", during)
	}
	if err := owner.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// That it was killed is the point.
	_ = owner.Wait()
	var found string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if found = left(t, before, pid, opt.Dir); found == "" {
			return
		}
	}
	t.Errorf("left behind:\n%s", found)
}
