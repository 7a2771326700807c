package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/swarm"
	dockerclient "github.com/moby/moby/client"
)

const dockerSDKArg = "be-a-program-of-dockers-sdk"

// beDockerProgram does the walk with docker's SDK for Go, as other people's programs use it. It runs on a virtual Pi.
func beDockerProgram() error {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	c, err := dockerclient.New(dockerclient.WithHost(dockerSocket))
	if err != nil {
		return err
	}
	defer c.Close()
	p := dockerProgram{ctx: ctx, c: c}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"look", p.look}, {"create", p.create}, {"watch", p.running}, {"read", p.read}, {"run", p.run}, {"stop", p.stop}, {"update", p.update}, {"label", p.label}, {"remove", p.remove},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	fmt.Println("all done")
	return nil
}

type dockerProgram struct {
	ctx                      context.Context
	c                        *dockerclient.Client
	service, secret, network string
}

const sdkService = "sdk"

func (p *dockerProgram) look() error {
	ping, err := p.c.Ping(p.ctx, dockerclient.PingOptions{NegotiateAPIVersion: true})
	if err != nil || ping.APIVersion != dockerclient.MaxAPIVersion {
		return fmt.Errorf("ping: %+v, %w", ping, err)
	}
	info, err := p.c.Info(p.ctx, dockerclient.InfoOptions{})
	if err != nil || info.Info.Swarm.Nodes != 3 || !info.Info.Swarm.ControlAvailable {
		return fmt.Errorf("info: %+v, %w", info.Info.Swarm, err)
	}
	nodes, err := p.c.NodeList(p.ctx, dockerclient.NodeListOptions{Filters: dockerclient.Filters{}.Add("role", "manager")})
	if err != nil || len(nodes.Items) != 3 {
		return fmt.Errorf("nodes: %d, %w", len(nodes.Items), err)
	}
	return nil
}

func (p *dockerProgram) create() error {
	secret, err := p.c.SecretCreate(p.ctx, dockerclient.SecretCreateOptions{Spec: swarm.SecretSpec{Annotations: swarm.Annotations{Name: "sdk-secret"}, Data: []byte("hush")}})
	if err != nil {
		return err
	}
	net, err := p.c.NetworkCreate(p.ctx, "sdk-net", dockerclient.NetworkCreateOptions{Driver: "overlay"})
	if err != nil {
		return err
	}
	if !strings.Contains(fmt.Sprint(net.Warning), "one flat network") {
		return fmt.Errorf("network: no warning of what a network is: %q", net.Warning)
	}
	p.secret, p.network = secret.ID, net.ID
	two := uint64(2)
	made, err := p.c.ServiceCreate(p.ctx, dockerclient.ServiceCreateOptions{QueryRegistry: true, Spec: swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: sdkService, Labels: map[string]string{"by": "sdk"}},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{Image: "greeter", Secrets: []*swarm.SecretReference{{
				SecretID: secret.ID, SecretName: "sdk-secret", File: &swarm.SecretReferenceFileTarget{Name: "s", UID: "0", GID: "0", Mode: 0o400},
			}}},
			Networks: []swarm.NetworkAttachmentConfig{{Target: net.ID}},
			// The containers that this program looks at are those of the node that it runs on.
			Placement: &swarm.Placement{Constraints: []string{"node.hostname==pi1"}},
		},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &two}},
		EndpointSpec: &swarm.EndpointSpec{Ports: []swarm.PortConfig{{Protocol: network.TCP, TargetPort: 5000}}}, // any port
	}})
	if err != nil {
		return err
	}
	p.service = made.ID
	_, err = p.c.ServiceCreate(p.ctx, dockerclient.ServiceCreateOptions{Spec: swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: "no"}, TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: "greeter", TTY: true}},
	}})
	if err == nil || !strings.Contains(err.Error(), "tasks have no terminal") {
		return fmt.Errorf("a terminal: %w", err)
	}
	return nil
}

// running waits until both tasks run.
func (p *dockerProgram) running() error {
	for p.ctx.Err() == nil {
		all, err := p.c.ServiceList(p.ctx, dockerclient.ServiceListOptions{Status: true, Filters: dockerclient.Filters{}.Add("label", "by=sdk")})
		if err != nil {
			return err
		}
		if len(all.Items) != 1 || all.Items[0].ID != p.service {
			return fmt.Errorf("listed: %+v", all.Items)
		}
		one := all.Items[0]
		if port := one.Endpoint.Ports[0].PublishedPort; port < 30000 {
			return fmt.Errorf("published at %d", port)
		}
		tasks, err := p.c.TaskList(p.ctx, dockerclient.TaskListOptions{Filters: dockerclient.Filters{}.Add("service", sdkService).Add("desired-state", "running").Add("_up-to-date", "true")})
		if err != nil {
			return err
		}
		n := 0
		for _, t := range tasks.Items {
			if t.Status.State == swarm.TaskStateRunning && t.Status.ContainerStatus != nil {
				n++
			}
		}
		if n == 2 && one.ServiceStatus.RunningTasks == 2 && (one.UpdateStatus == nil || one.UpdateStatus.State != swarm.UpdateStateUpdating) {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return p.ctx.Err()
}

func (p *dockerProgram) read() error {
	logs, err := p.c.ServiceLogs(p.ctx, sdkService, dockerclient.ServiceLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true})
	if err != nil {
		return err
	}
	defer logs.Close()
	var out, errs bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &errs, logs); err != nil || strings.Count(out.String(), "answers on port 5000") < 2 || errs.Len() > 0 {
		return fmt.Errorf("logs: %q %q, %w", out.String(), errs.String(), err)
	}
	return nil
}

// container is one of the service's on this node.
func (p *dockerProgram) container() (string, error) {
	all, err := p.c.ContainerList(p.ctx, dockerclient.ContainerListOptions{Filters: dockerclient.Filters{}.Add("label", "com.docker.swarm.service.name="+sdkService)})
	if err != nil || len(all.Items) == 0 {
		return "", fmt.Errorf("containers: %d, %w", len(all.Items), err)
	}
	return all.Items[0].ID, nil
}

func (p *dockerProgram) run() error {
	id, err := p.container()
	if err != nil {
		return err
	}
	made, err := p.c.ExecCreate(p.ctx, id, dockerclient.ExecCreateOptions{AttachStdout: true, AttachStderr: true, Cmd: []string{"/greeter", "get", "1", "http://127.0.0.1:5000/"}})
	if err != nil {
		return err
	}
	attached, err := p.c.ExecAttach(p.ctx, made.ID, dockerclient.ExecAttachOptions{})
	if err != nil {
		return err
	}
	defer attached.Close()
	var out, errs bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &errs, attached.Reader); err != nil && !errors.Is(err, io.EOF) || !strings.HasPrefix(out.String(), "Hello, Docker world") {
		return fmt.Errorf("exec: %q %q, %w", out.String(), errs.String(), err)
	}
	if end, err := p.c.ExecInspect(p.ctx, made.ID, dockerclient.ExecInspectOptions{}); err != nil || end.Running || end.ExitCode != 0 {
		return fmt.Errorf("exec: %+v, %w", end, err)
	}
	return nil
}

// stop stops a container, and hears of it.
func (p *dockerProgram) stop() error {
	id, err := p.container()
	if err != nil {
		return err
	}
	heard, cancel := context.WithCancel(p.ctx)
	defer cancel()
	events := p.c.Events(heard, dockerclient.EventsListOptions{Filters: dockerclient.Filters{}.Add("type", "container").Add("container", id)})
	if _, err := p.c.ContainerStop(p.ctx, id, dockerclient.ContainerStopOptions{}); err != nil {
		return err
	}
	select {
	case m := <-events.Messages:
		if m.Actor.Attributes["com.docker.swarm.service.name"] != sdkService {
			return fmt.Errorf("event %+v", m)
		}
	case err := <-events.Err:
		return err
	case <-p.ctx.Done():
		return errors.New("no event")
	}
	return p.running()
}

func (p *dockerProgram) update() error {
	one, err := p.c.ServiceInspect(p.ctx, sdkService, dockerclient.ServiceInspectOptions{})
	if err != nil {
		return err
	}
	spec := one.Service.Spec
	spec.TaskTemplate.ContainerSpec.Env = []string{"GREETER_VERSION=2"}
	spec.UpdateConfig.Parallelism = 0
	if _, err := p.c.ServiceUpdate(p.ctx, p.service, dockerclient.ServiceUpdateOptions{Version: one.Service.Version, Spec: spec}); err != nil {
		return err
	}
	// The version was that of before.
	if _, err := p.c.ServiceUpdate(p.ctx, p.service, dockerclient.ServiceUpdateOptions{Version: one.Service.Version, Spec: spec}); err == nil || !strings.Contains(err.Error(), "update out of sequence") {
		return fmt.Errorf("an old version: %w", err)
	}
	if err := p.running(); err != nil {
		return err
	}
	if one, err = p.c.ServiceInspect(p.ctx, sdkService, dockerclient.ServiceInspectOptions{}); err != nil {
		return err
	}
	if one.Service.UpdateStatus == nil || one.Service.UpdateStatus.State != swarm.UpdateStateCompleted || one.Service.PreviousSpec == nil {
		return fmt.Errorf("after the update: %+v", one.Service.UpdateStatus)
	}
	_, err = p.c.ServiceUpdate(p.ctx, p.service, dockerclient.ServiceUpdateOptions{Version: one.Service.Version, Spec: one.Service.Spec, Rollback: "previous"})
	return err
}

func (p *dockerProgram) label() error {
	n, err := p.c.NodeInspect(p.ctx, "pi3", dockerclient.NodeInspectOptions{})
	if err != nil {
		return err
	}
	spec := n.Node.Spec
	spec.Labels = map[string]string{"sdk": "yes"}
	if _, err := p.c.NodeUpdate(p.ctx, n.Node.ID, dockerclient.NodeUpdateOptions{Version: n.Node.Version, Spec: spec}); err != nil {
		return err
	}
	if n, err = p.c.NodeInspect(p.ctx, "pi3", dockerclient.NodeInspectOptions{}); err != nil || n.Node.Spec.Labels["sdk"] != "yes" {
		return fmt.Errorf("labels %v, %w", n.Node.Spec.Labels, err)
	}
	return nil
}

func (p *dockerProgram) remove() error {
	if _, err := p.c.ServiceRemove(p.ctx, p.service, dockerclient.ServiceRemoveOptions{}); err != nil {
		return err
	}
	_, errSecret := p.c.SecretRemove(p.ctx, p.secret, dockerclient.SecretRemoveOptions{})
	_, errNetwork := p.c.NetworkRemove(p.ctx, p.network, dockerclient.NetworkRemoveOptions{})
	return errors.Join(errSecret, errNetwork)
}
