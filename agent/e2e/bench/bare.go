package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"golang.org/x/sync/errgroup"
)

// The bare client is this program, started once on each node by its first argument. It reads a number a line, starts
// as many containers, answers, takes them away and answers again. It stands for the least that starting costs.
const (
	bareCommand   = "bare"
	bareNamespace = "bench" // of containerd: the agent does not look there
	bareImage     = "/root/greeter.tar"
	bareReady     = "ready"
	bareRunning   = "running"
	bareGone      = "gone"
)

// bareStarts is how many containers the bare client makes at a time: as many as the agent does.
func bareStarts() int { return min(max(runtime.NumCPU(), 2), 4) }

func serveBare(ctx context.Context, in io.Reader, out io.Writer) error {
	containerd, err := client.New("/run/containerd/containerd.sock", client.WithDefaultNamespace(bareNamespace))
	if err != nil {
		return err
	}
	defer containerd.Close()
	image, err := importImage(ctx, containerd)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, bareReady)
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			return err
		}
		if err := startAndRemove(ctx, containerd, image, n, out); err != nil {
			return err
		}
	}
	return lines.Err()
}

func importImage(ctx context.Context, containerd *client.Client) (client.Image, error) {
	tar, err := os.Open(bareImage)
	if err != nil {
		return nil, err
	}
	defer tar.Close()
	found, err := containerd.Import(ctx, tar)
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("import: no image in %s", bareImage)
	}
	image := client.NewImage(containerd, found[0])
	if err := image.Unpack(ctx, "overlayfs"); err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	return image, nil
}

func startAndRemove(ctx context.Context, containerd *client.Client, image client.Image, n int, out io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tasks := make([]client.Task, n)
	made := make([]client.Container, n)
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(bareStarts())
	for i := range n {
		group.Go(func() (err error) {
			made[i], tasks[i], err = startOne(groupCtx, containerd, image, fmt.Sprintf("bare-%d", i))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	fmt.Fprintln(out, bareRunning)
	for i, task := range tasks {
		ended, err := task.Wait(ctx)
		if err != nil {
			return err
		}
		if err := task.Kill(ctx, syscall.SIGKILL); err != nil {
			return err
		}
		<-ended
		if _, err := task.Delete(ctx); err != nil {
			return err
		}
		if err := made[i].Delete(ctx, client.WithSnapshotCleanup); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, bareGone)
	return nil
}

// startOne makes a container of the kind that the agent makes: seccomp profile, a network namespace, output to a file.
func startOne(ctx context.Context, containerd *client.Client, image client.Image, id string) (client.Container, client.Task, error) {
	container, err := containerd.NewContainer(ctx, id,
		client.WithSnapshotter("overlayfs"),
		client.WithNewSnapshot(id, image),
		client.WithNewSpec(oci.WithImageConfig(image), oci.WithHostname(id), seccomp.WithDefaultProfile()))
	if err != nil {
		return nil, nil, fmt.Errorf("create %s: %w", id, err)
	}
	task, err := container.NewTask(ctx, cio.LogFile("/run/"+id+".log"))
	if err != nil {
		return nil, nil, fmt.Errorf("make the task of %s: %w", id, err)
	}
	if err := task.Start(ctx); err != nil {
		return nil, nil, fmt.Errorf("start %s: %w", id, err)
	}
	return container, task, nil
}
