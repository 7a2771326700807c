package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/piswarm/piswarm/agent/internal/firewall"
	"github.com/piswarm/piswarm/agent/internal/network"
	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/loadbalance"
	"golang.org/x/sys/unix"
)

// ground is what is needed of a node to measure rules for more services than a lab could run: its network, made and
// ruled by piswarm's own code, two containers that answer, and a laptop on its LAN, each a network namespace. They end
// with this process; nothing of them touches the machine's own network.
type ground struct {
	laptop, node *space
	network      *network.Network
	firewall     *firewall.Firewall
	planner      loadbalance.Planner
	backends     []netip.Addr
	servers      []*http.Server
	dir          string // of the containers' namespaces
}

// space is a network namespace.
type space struct{ file *os.File }

const containerPort = 5000

var (
	laptopAddress = netip.MustParseAddr("192.168.1.100")
	nodeAddress   = netip.MustParseAddr("192.168.1.21")
	subnet        = netip.MustParsePrefix("10.77.1.0/24")
)

func newGround(ctx context.Context) (g *ground, err error) {
	g = &ground{}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.close())
		}
	}()
	if g.dir, err = os.MkdirTemp("", "piswarm-bench-"); err != nil {
		return g, err
	}
	for _, s := range []**space{&g.laptop, &g.node} {
		if *s, err = newSpace(); err != nil {
			return g, err
		}
	}
	node := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), g.node.file.Fd())
	err = errors.Join(
		g.laptop.run(ctx, "ip link set lo up && ip link add eth0 type veth peer name eth0 netns "+node+
			" && ip addr add "+laptopAddress.String()+"/24 dev eth0 && ip link set eth0 up"+
			// With few ports, a client's connections would be counted, not those that the rules let through.
			" && echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range"),
		g.node.run(ctx, "ip link set lo up && ip addr add "+nodeAddress.String()+"/24 dev eth0 && ip link set eth0 up"))
	if err != nil {
		return g, err
	}
	err = g.node.in(func() (err error) {
		g.network, err = network.New(network.Config{Bridge: "piswarm0", Namespaces: g.dir})
		return err
	})
	if err != nil {
		return g, err
	}
	if g.firewall, err = firewall.New(firewall.Config{}); err != nil {
		return g, err
	}
	input := g.input()
	if err = g.network.Apply(ctx, network.Wanted{Interface: input.Interface, Subnet: subnet, Pool: input.Pool, VirtualIPs: input.VirtualIPs}); err != nil {
		return g, err
	}
	if err = g.change(ctx, nil); err != nil {
		return g, err
	}
	if err = g.network.Tune(ctx, input.Interface); err != nil {
		return g, err
	}
	for i := range 2 {
		if err = g.serve(ctx, i); err != nil {
			return g, err
		}
	}
	return g, nil
}

func (g *ground) close() error {
	var errs []error
	for _, s := range g.servers {
		errs = append(errs, s.Close())
	}
	if g.network != nil {
		errs = append(errs, g.network.Cleanup(context.Background()))
		g.network.Close()
	}
	for _, s := range []*space{g.laptop, g.node} {
		if s != nil {
			errs = append(errs, s.file.Close())
		}
	}
	return errors.Join(append(errs, os.RemoveAll(g.dir))...)
}

// serve starts a container that says who it is.
func (g *ground) serve(ctx context.Context, i int) error {
	address := netip.AddrFrom4([4]byte{10, 77, 1, byte(2 + i)})
	path, err := g.network.Attach(ctx, fmt.Sprintf("c%d", i), address)
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	container := &space{file}
	defer file.Close()
	var listener net.Listener
	err = container.in(func() (err error) {
		listener, err = net.Listen("tcp4", fmt.Sprintf(":%d", containerPort))
		return err
	})
	if err != nil {
		return err
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, address) })}
	go server.Serve(listener) // until it is closed
	g.servers = append(g.servers, server)
	g.backends = append(g.backends, address)
	return nil
}

func (g *ground) input() loadbalance.Input {
	return loadbalance.Input{
		Interface: "eth0", Address: nodeAddress, Bridge: "piswarm0", Subnet: subnet,
		Pool: netip.MustParsePrefix("10.77.0.0/16"), VirtualIPs: netip.MustParsePrefix("10.77.240.0/20"),
	}
}

// change does what a pass of the ingress does with the rules.
func (g *ground) change(ctx context.Context, services []loadbalance.Service) error {
	input := g.input()
	input.Services = services
	return g.node.in(func() error {
		if err := g.firewall.Apply(ctx, g.planner.Plan(input)); err != nil {
			return err
		}
		_, err := g.firewall.Repair(ctx)
		return err
	})
}

// firstPort is the published port of the first of many services; the others follow.
const firstPort = 20000

// services are as many as there shall be. All but the last have two tasks on other nodes, which nobody asks; its tasks
// are the given ones.
func services(n int, last ...netip.Addr) []loadbalance.Service {
	all := make([]loadbalance.Service, n)
	for i := range all {
		backends := []netip.Addr{
			netip.AddrFrom4([4]byte{10, 77, byte(2 + i/250), byte(2 + i%250)}),
			netip.AddrFrom4([4]byte{10, 77, byte(12 + i/250), byte(2 + i%250)}),
		}
		if i == n-1 {
			backends = last
		}
		all[i] = service(i, backends)
	}
	return all
}

func service(i int, backends []netip.Addr) loadbalance.Service {
	port := loadbalance.Port{Published: uint16(firstPort + i), Protocol: cluster.TCP}
	for _, b := range backends {
		port.Targets = append(port.Targets, netip.AddrPortFrom(b, containerPort))
	}
	return loadbalance.Service{
		Name: fmt.Sprintf("service-%d", i), VirtualIP: netip.AddrFrom4([4]byte{10, 77, byte(240 + i/250), byte(2 + i%250)}),
		Ports: []loadbalance.Port{port}, Backends: backends,
	}
}

func newSpace() (*space, error) {
	var s space
	err := thread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		var err error
		s.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return &s, err
}

// thread runs a function on a thread that ends with it.
func thread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

// in runs a function inside of the namespace. Sockets that it opens stay there, and so do programs that it starts.
func (s *space) in(f func() error) error {
	return thread(func() error {
		if err := unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter a network namespace: %w", err)
		}
		return f()
	})
}

func (s *space) run(ctx context.Context, line string) error {
	_, err := s.output(ctx, "sh", "-c", line)
	return err
}

func (s *space) output(ctx context.Context, argv ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var out []byte
	err := s.in(func() (err error) {
		out, err = exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
		return err
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return string(out), nil
}
