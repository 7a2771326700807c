package ingress

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/piswarm/piswarm/agent/internal/network"
	"github.com/piswarm/piswarm/agent/internal/view"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func pool(t *testing.T) cluster.Pool {
	t.Helper()
	p, err := cluster.ParsePool(cluster.DefaultPool)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// here is node n1's place.
func here(t *testing.T) Place {
	p := pool(t)
	return Place{
		LAN:    network.LAN{Interface: "eth0", Address: netip.MustParseAddr("192.168.1.1"), MAC: "02:00:00:00:00:01"},
		Subnet: p.Subnet(1), Pool: p, Bridge: "piswarm0",
	}
}

// shelf is three ready nodes n1…n3 with the subnets 1…3, and service web with a running task on each.
func shelf() view.View {
	v := view.View{Self: "n1", Plans: map[string]cluster.Plan{}, Reports: map[string]cluster.Report{}}
	for i := 1; i <= 3; i++ {
		id := fmt.Sprintf("n%d", i)
		v.Members = append(v.Members, cluster.Member{
			ID: id, Condition: cluster.Ready, Address: netip.MustParseAddr(fmt.Sprintf("192.168.1.%d", i)),
		})
		v.Reports[id] = cluster.Report{Node: cluster.Description{Subnet: fmt.Sprintf("10.77.%d.0/24", i), MAC: fmt.Sprintf("02:00:00:00:00:0%d", i)}}
	}
	add(&v, "web", "a", cluster.Port{Published: 80, Target: 8080, Protocol: cluster.TCP, Mode: cluster.PortIngress})
	return v
}

// add adds a service with a running task on each node, task n on n<n>.
func add(v *view.View, name, id string, ports ...cluster.Port) {
	s := cluster.Service{ID: id, VirtualIP: netip.MustParseAddr("10.77.240.9"), Spec: cluster.Spec{Name: name, Ports: ports}}
	v.Services = append(v.Services, s)
	plan := cluster.Plan{ServiceID: id}
	for i := 1; i <= 3; i++ {
		node := fmt.Sprintf("n%d", i)
		task := fmt.Sprintf("%s.%d", name, i)
		plan.Tasks = append(plan.Tasks, cluster.Task{ID: task, Slot: i, Node: node})
		report := v.Reports[node]
		report.Tasks = append(slices.Clone(report.Tasks), cluster.TaskStatus{
			ID: task, Service: name, ServiceID: id, Slot: i, State: cluster.Running, Address: fmt.Sprintf("10.77.%d.%d", i, 1+len(v.Services)),
		})
		v.Reports[node] = report
	}
	v.Plans[name] = plan
}

// text is what the plan leads where: a line a service, with its ports if they lead to all backends alike, a line for
// each other port, a line a peer.
func text(w wanted) string {
	var b strings.Builder
	for _, s := range w.rules.Services {
		var ports []string
		var odd string
		for _, p := range s.Ports {
			to := slices.IndexFunc(p.Targets, func(t netip.AddrPort) bool { return t.Port() != p.Targets[0].Port() })
			var addresses []netip.Addr
			for _, t := range p.Targets {
				addresses = append(addresses, t.Addr())
			}
			if len(addresses) == 0 && len(s.Backends) == 0 {
				ports = append(ports, fmt.Sprintf("%d/%s", p.Published, p.Protocol))
			} else if to < 0 && slices.Equal(addresses, s.Backends) {
				ports = append(ports, fmt.Sprintf("%d:%d/%s", p.Published, p.Targets[0].Port(), p.Protocol))
			} else {
				odd += fmt.Sprintf("  %d/%s: %v\n", p.Published, p.Protocol, p.Targets)
			}
		}
		fmt.Fprintln(&b, s.Name, s.VirtualIP, ports, s.Backends)
		b.WriteString(odd)
	}
	for _, p := range w.rules.Peers {
		fmt.Fprintln(&b, p.Index, p.Subnet, "via", p.Address, p.MAC)
	}
	return b.String()
}

const peersText = "2 10.77.2.0/24 via 192.168.1.2 02:00:00:00:00:02\n3 10.77.3.0/24 via 192.168.1.3 02:00:00:00:00:03\n"

func status(v view.View, node string, change func(*cluster.TaskStatus)) {
	r := v.Reports[node]
	r.Tasks = slices.Clone(r.Tasks)
	change(&r.Tasks[0])
	v.Reports[node] = r
}

func describe(v view.View, node string, change func(*cluster.Description)) {
	r := v.Reports[node]
	change(&r.Node)
	v.Reports[node] = r
}

func TestPlan(t *testing.T) {
	for name, test := range map[string]struct {
		change func(v *view.View)
		want   string
	}{
		"all well": {func(*view.View) {}, "web 10.77.240.9 [80:8080/tcp] [10.77.1.2 10.77.2.2 10.77.3.2]\n" + peersText},
		"in order of slot": {func(v *view.View) { slices.Reverse(v.Plans["web"].Tasks) },
			"web 10.77.240.9 [80:8080/tcp] [10.77.1.2 10.77.2.2 10.77.3.2]\n" + peersText},
		"one starts": {func(v *view.View) { status(*v, "n2", func(s *cluster.TaskStatus) { s.State = cluster.Starting }) },
			"web 10.77.240.9 [80:8080/tcp] [10.77.1.2 10.77.3.2]\n" + peersText},
		"one has no address yet": {func(v *view.View) { status(*v, "n2", func(s *cluster.TaskStatus) { s.Address = "" }) },
			"web 10.77.240.9 [80:8080/tcp] [10.77.1.2 10.77.3.2]\n" + peersText},
		"one is out of the plan": {func(v *view.View) {
			v.Plans["web"] = cluster.Plan{ServiceID: "a", Tasks: v.Plans["web"].Tasks[1:]}
		}, "web 10.77.240.9 [80:8080/tcp] [10.77.2.2 10.77.3.2]\n" + peersText},
		"the plan is for an earlier service": {func(v *view.View) {
			v.Plans["web"] = cluster.Plan{ServiceID: "z", Tasks: v.Plans["web"].Tasks}
		}, "web 10.77.240.9 [80/tcp] []\n" + peersText},
		"a dead node's tasks leave, its route stays": {func(v *view.View) { v.Members[1].Condition = cluster.Down },
			"web 10.77.240.9 [80:8080/tcp] [10.77.1.2 10.77.3.2]\n" + peersText},
		"a node has left": {func(v *view.View) { v.Members[1].Condition = cluster.Left },
			"web 10.77.240.9 [80:8080/tcp] [10.77.1.2 10.77.3.2]\n" + peersText[strings.Index(peersText, "\n")+1:]},
		"a task still has the address of its node's former subnet": {func(v *view.View) {
			describe(*v, "n2", func(d *cluster.Description) { d.Subnet = "10.77.9.0/24" })
		}, "web 10.77.240.9 [80:8080/tcp] [10.77.1.2 10.77.3.2]\n" +
			"3 10.77.3.0/24 via 192.168.1.3 02:00:00:00:00:03\n9 10.77.9.0/24 via 192.168.1.2 02:00:00:00:00:02\n"},
		"two nodes have one subnet": {func(v *view.View) {
			describe(*v, "n3", func(d *cluster.Description) { d.Subnet = "10.77.2.0/24" })
		}, "web 10.77.240.9 [80:8080/tcp] [10.77.1.2 10.77.2.2]\n" + "2 10.77.2.0/24 via 192.168.1.2 02:00:00:00:00:02\n"},
		"two nodes have one subnet and the first is down": {func(v *view.View) {
			describe(*v, "n3", func(d *cluster.Description) { d.Subnet = "10.77.2.0/24" })
			status(*v, "n3", func(s *cluster.TaskStatus) { s.Address = "10.77.2.7" })
			v.Members[1].Condition = cluster.Down
		}, "web 10.77.240.9 [80:8080/tcp] [10.77.1.2 10.77.2.7]\n" + "2 10.77.2.0/24 via 192.168.1.3 02:00:00:00:00:03\n"},
		"another has this node's subnet": {func(v *view.View) {
			describe(*v, "n3", func(d *cluster.Description) { d.Subnet = "10.77.1.0/24" })
		}, "web 10.77.240.9 [80:8080/tcp] [10.77.1.2 10.77.2.2]\n" + "2 10.77.2.0/24 via 192.168.1.2 02:00:00:00:00:02\n"},
		"a subnet outside of the pool": {func(v *view.View) {
			describe(*v, "n3", func(d *cluster.Description) { d.Subnet = "192.168.1.0/24" })
		}, "web 10.77.240.9 [80:8080/tcp] [10.77.1.2 10.77.2.2]\n" + "2 10.77.2.0/24 via 192.168.1.2 02:00:00:00:00:02\n"},
		"a node that is off is where it last was": {func(v *view.View) {
			v.Members[2] = cluster.Member{ID: "n3", Condition: cluster.Down}
			describe(*v, "n3", func(d *cluster.Description) { d.Address = "192.168.1.33" })
		}, "web 10.77.240.9 [80:8080/tcp] [10.77.1.2 10.77.2.2]\n" +
			strings.Replace(peersText, "192.168.1.3 ", "192.168.1.33 ", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			v := shelf()
			test.change(&v)
			if got := text(plan(v, here(t))); got != test.want {
				t.Errorf("%swant:\n%s", got, test.want)
			}
		})
	}
}

func TestPlanPorts(t *testing.T) {
	const rest = "[10.77.1.2 10.77.2.2 10.77.3.2]\n"
	host := func(published, target uint16, protocol cluster.Protocol) cluster.Port {
		return cluster.Port{Published: published, Target: target, Protocol: protocol, Mode: cluster.PortHost}
	}
	// updates makes web's spec another one, which the task on n2 is made from already.
	updates := func(v *view.View, ports ...cluster.Port) {
		s := &v.Services[0]
		s.Past = []cluster.Revision{{Spec: s.Spec, SpecVersion: 0}}
		s.Spec.Ports, s.SpecVersion = ports, 7
		status(*v, "n2", func(s *cluster.TaskStatus) { s.SpecVersion = 7 })
	}
	web := cluster.Port{Published: 80, Target: 8081, Protocol: cluster.TCP, Mode: cluster.PortIngress}
	for name, test := range map[string]struct {
		change func(v *view.View)
		want   string
		udp    []string // the ports that get datagrams
	}{
		"an update of the target port": {func(v *view.View) { updates(v, web) },
			"web 10.77.240.9 [] " + rest + "  80/tcp: [10.77.1.2:8080 10.77.2.2:8081 10.77.3.2:8080]\n", nil},
		"an update that is forgotten": {func(v *view.View) { updates(v, web); v.Services[0].Past = nil },
			"web 10.77.240.9 [80:8081/tcp] " + rest, nil},
		"an update that publishes another port": {func(v *view.View) {
			web := web
			web.Published = 81
			updates(v, web)
		}, "web 10.77.240.9 [] " + rest + "  81/tcp: [10.77.2.2:8081]\n", nil},
		"an unplanned task of before": {func(v *view.View) {
			updates(v, web)
			for _, n := range []string{"n1", "n2", "n3"} {
				replace(v, n, "web.b")
			}
		}, "web 10.77.240.9 [] " + rest + "  80/tcp: [10.77.1.2:8080 10.77.2.2:8081 10.77.3.2:8080]\n", nil},
		"mode host": {func(v *view.View) {
			v.Services[0].Spec.Ports = []cluster.Port{host(80, 8080, cluster.TCP), host(80, 53, cluster.UDP)}
		},
			"web 10.77.240.9 [] " + rest + "  80/tcp: [10.77.1.2:8080]\n  80/udp: [10.77.1.2:53]\n", []string{"10.77.1.2:53"}},
		"mode host without a task here": {func(v *view.View) {
			v.Services[0].Spec.Ports = []cluster.Port{host(80, 8080, cluster.TCP), host(80, 53, cluster.UDP)}
			drop(v, "n1")
		}, "web 10.77.240.9 [] [10.77.2.2 10.77.3.2]\n  80/tcp: []\n  80/udp: []\n", nil},
		"mode host with a task here that is not ready": {func(v *view.View) {
			v.Services[0].Spec.Ports = []cluster.Port{host(80, 8080, cluster.TCP)}
			status(*v, "n1", func(s *cluster.TaskStatus) { s.State = cluster.Unhealthy })
		}, "web 10.77.240.9 [] [10.77.2.2 10.77.3.2]\n  80/tcp: []\n", nil},
		"two services share a host port": {func(v *view.View) {
			v.Services[0].Spec.Ports = []cluster.Port{host(80, 8080, cluster.TCP)}
			drop(v, "n1")
			add(v, "app", "0", host(80, 5000, cluster.TCP))
			v.Services[1].VirtualIP = netip.MustParseAddr("10.77.240.10")
		}, "web 10.77.240.9 [] [10.77.2.2 10.77.3.2]\n  80/tcp: []\n" +
			"app 10.77.240.10 [] [10.77.1.3 10.77.2.3 10.77.3.3]\n  80/tcp: [10.77.1.3:5000]\n", nil},
		"a host port and an ingress port of a smaller ID": {func(v *view.View) {
			v.Services[0].Spec.Ports = []cluster.Port{host(80, 8080, cluster.TCP)}
			web := web
			web.Target = 5000
			add(v, "app", "0", web)
			v.Services[1].VirtualIP = netip.MustParseAddr("10.77.240.10")
		}, "web 10.77.240.9 [] " + rest + "app 10.77.240.10 [80:5000/tcp] [10.77.1.3 10.77.2.3 10.77.3.3]\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			v := shelf()
			test.change(&v)
			w := plan(v, here(t))
			if got := text(w); got != test.want+peersText {
				t.Errorf("%swant:\n%s", got, test.want+peersText)
			}
			var udp []string
			for b := range w.backends {
				if b.Protocol == cluster.UDP {
					udp = append(udp, b.Address.String())
				}
			}
			if !slices.Equal(udp, test.udp) {
				t.Errorf("datagrams go to %v, want %v", udp, test.udp)
			}
		})
	}
}

// Two sides of a partition may each make a service with the same port and the same virtual address.
func TestPlanSettlesWhatAPartitionLeft(t *testing.T) {
	v := shelf()
	both := cluster.Port{Published: 80, Target: 5000, Protocol: cluster.TCP, Mode: cluster.PortIngress}
	udp := cluster.Port{Published: 80, Target: 5000, Protocol: cluster.UDP, Mode: cluster.PortIngress}
	add(&v, "app", "0", both, udp) // sorts before web by name and by ID, and was listed later
	w := plan(v, here(t))
	got := text(w)
	for _, want := range []string{
		"web 10.77.255.", " [] [10.77.1.2 10.77.2.2 10.77.3.2]\n",
		"app 10.77.240.9 [80:5000/tcp 80:5000/udp] [10.77.1.3 10.77.2.3 10.77.3.3]\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%slacks: %s", got, want)
		}
	}
	if w.rules.Services[0].VirtualIP == w.rules.Services[1].VirtualIP || !w.rules.Services[0].VirtualIP.IsValid() {
		t.Errorf("virtual addresses:\n%s", got)
	}
	if w.names[0].VirtualIP != w.rules.Services[0].VirtualIP {
		t.Error("the names lead elsewhere than the rules")
	}
	slices.Reverse(v.Services)
	again := plan(v, here(t))
	slices.Reverse(again.rules.Services)
	if text(again) != got {
		t.Errorf("depends on the order of the services:\n%s%s", got, text(again))
	}
	// The port does not change hands whenever the owner has no ready task.
	delete(v.Plans, "app")
	if got := text(plan(v, here(t))); !strings.Contains(got, " [] [10.77.1.2") || !strings.Contains(got, "[80/tcp 80/udp] []") {
		t.Errorf("without tasks of app:\n%s", got)
	}
}
