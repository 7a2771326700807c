package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func newNodeAddCommand(a *app) *cobra.Command {
	var deb string
	cmd := &cobra.Command{
		Use:   "add [OPTIONS] [USER@]HOST",
		Short: "Admit a Pi to the cluster over ssh",
		Long: `Admit a Pi to the cluster over ssh: look whether it can be a node, install piswarm where it is missing, hand over the
cluster's token and wait until the node is ready.

The Pi is reached by your own ssh, with your keys, your configuration and the hosts that you know. The user must be root
there, or be allowed sudo without a password. The token goes over that connection and stands in no command line. A
command that was interrupted is finished by the next one.`,
		Example: `  piswarm node add pi@192.168.1.23
  piswarm node add --package piswarm_1.2.0_armhf.deb pi@192.168.1.23`,
		Args:              exactArgs(1, "one host, as ssh knows it"),
		ValidArgsFunction: completeFirst(completeWaiting(a)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkSSHHost(args[0]); err != nil {
				return &usageError{cmd, err}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			return (&nodeAdd{app: a, client: c, name: args[0], deb: deb}).run(cmd.Context())
		},
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().StringVar(&deb, "package", "", "Debian package `file` of piswarm to install if it is missing or of another version")
	return cmd
}

// completeWaiting offers the nodes that wait, as the user pi.
func completeWaiting(a *app) completion {
	return completeNames(func(ctx context.Context) ([]string, error) {
		c, err := a.connect()
		if err != nil {
			return nil, err
		}
		nodes, err := c.Waiting(ctx)
		var names []string
		for _, n := range nodes {
			names = append(names, "pi@"+n.Address)
		}
		return names, err
	})
}

const (
	probeLimit   = 30 * time.Second // for a look at the host
	startLimit   = 30 * time.Second // for an agent that was just started to answer
	joinLimit    = time.Minute
	readyLimit   = 90 * time.Second
	installLimit = 15 * time.Minute // a Pi Zero that fetches containerd over Wi-Fi
	addPoll      = 500 * time.Millisecond
	// someMembers is how many of the cluster a new node is told of: it finds the others by itself.
	someMembers = 5
)

// nodeAdd admits one host.
type nodeAdd struct {
	app    *app
	client *client.Client
	name   string // [USER@]HOST
	deb    string // file of the package, if the person has one

	member client.Version // of the cluster's node that is asked here
	ssh    *sshHost
	host   host
}

func (n *nodeAdd) run(ctx context.Context) (err error) {
	pkg, err := openPackage(n.deb)
	if err != nil {
		return err
	}
	defer pkg.close()
	if n.member, err = n.client.Version(ctx); err != nil {
		return err
	}
	if n.member.ClusterID == "" {
		return fmt.Errorf("%s is in no cluster itself: piswarm init makes one", n.member.Node)
	}
	if n.ssh, err = dialSSH(ctx, n.name, n.app.stderr); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.ssh.close()) }()
	for _, step := range []func(context.Context) error{
		n.look,
		func(ctx context.Context) error { return n.install(ctx, pkg) },
		n.start,
		n.join,
		n.awaitReady,
	} {
		if err := step(ctx); err != nil {
			return n.failed(err)
		}
	}
	return nil
}

// failed names the host in an error that does not come from the person.
func (n *nodeAdd) failed(err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%s: interrupted: the same command again goes on from here", n.name)
	}
	return fmt.Errorf("%s: %w", n.name, err)
}

// say tells of a step. Standard output is for the node that was added.
func (n *nodeAdd) say(format string, args ...any) {
	fmt.Fprintln(n.app.stderr, oneLine(n.name+": "+fmt.Sprintf(format, args...)))
}

// look finds out what the host is, and whether it can be a node.
func (n *nodeAdd) look(ctx context.Context) (err error) {
	if n.host, err = probe(ctx, n.ssh); err != nil {
		return err
	}
	if err := n.host.check(); err != nil {
		return err
	}
	n.say("%s, %s on %s", n.host.name, n.host.title, n.host.machine)
	return nil
}

// start sees to it that an agent answers on the host.
func (n *nodeAdd) start(ctx context.Context) error {
	if n.host.agent != nil {
		return nil
	}
	if !n.host.systemd {
		return errors.New("no piswarm agent runs there, and no systemd that could start one: run `piswarm agent` as root, and try again")
	}
	n.say("starting the agent")
	if _, err := n.ssh.run(ctx, startLimit, n.host.root+"systemctl enable --now piswarm", nil); err != nil {
		return fmt.Errorf("start the agent: %w", err)
	}
	for deadline := time.Now().Add(startLimit); n.host.agent == nil; {
		if time.Now().After(deadline) {
			return fmt.Errorf("the agent does not answer within %s: see there, journalctl -u piswarm", startLimit)
		}
		if err := sleep(ctx, addPoll); err != nil {
			return err
		}
		var err error
		if n.host, err = probe(ctx, n.ssh); err != nil {
			return err
		}
	}
	return nil
}

// join hands the token over, unless the node is a member already.
func (n *nodeAdd) join(ctx context.Context) error {
	nodes, err := n.client.Nodes(ctx)
	if err != nil {
		return err
	}
	switch in, err := n.isMember(nodes); {
	case err != nil:
		return err
	case in:
		n.say("it is in this cluster already")
		return nil
	}
	token, err := n.client.Token(ctx)
	if err != nil {
		return err
	}
	n.say("joining the cluster")
	command := n.host.root + n.host.path + " join --token-file -"
	for _, address := range someReady(nodes) {
		command += " " + address
	}
	_, joinErr := n.ssh.run(ctx, joinLimit, command, strings.NewReader(token.Token+"\n"))
	if joinErr == nil {
		return nil
	}
	// It may have joined, and be late to come up.
	if n.host, err = probe(ctx, n.ssh); err == nil {
		if in, err := n.isMember(nodes); err == nil && in {
			return nil
		}
	}
	return fmt.Errorf("join: %w", joinErr)
}

// isMember tells whether the host is in this cluster. One that is in another is none to be taken from there.
func (n *nodeAdd) isMember(nodes []client.NodeStatus) (bool, error) {
	agent := n.host.agent
	switch {
	case agent == nil:
		return false, errors.New("its agent does not answer any more")
	case agent.NodeID == "":
		return false, fmt.Errorf("its agent is piswarm %s, which is too old to be added from here: update it, or run piswarm join on it", agent.Version)
	case agent.ClusterID == "":
		return false, nil
	case agent.ClusterID == n.member.ClusterID:
		return true, nil
	}
	for _, s := range nodes {
		if s.ID == agent.NodeID {
			// One of this cluster that does not count was off when the token was changed: the new one brings it back. One
			// that counts goes by the old token just now.
			return s.State == cluster.Ready, nil
		}
	}
	return false, fmt.Errorf("it is in another cluster (%s): to take it out of that one, with all that runs on it, run there: sudo piswarm leave", agent.ClusterID)
}

// someReady are the addresses of a few members, for a node that mDNS does not reach.
func someReady(nodes []client.NodeStatus) []string {
	var all []string
	for _, s := range nodes {
		if a, err := netip.ParseAddr(s.Address); err == nil && a.Is4() && s.State == cluster.Ready && len(all) < someMembers {
			all = append(all, a.String())
		}
	}
	return all
}

// awaitReady waits until the cluster counts on the node, and prints it as node ls does.
func (n *nodeAdd) awaitReady(ctx context.Context) error {
	id := n.host.agent.NodeID
	for deadline := time.Now().Add(readyLimit); ; {
		nodes, err := n.client.Nodes(ctx)
		if err != nil {
			return err
		}
		for _, s := range nodes {
			// A node that has just joined has yet to say what it is.
			if s.ID == id && s.State == cluster.Ready && s.Arch != "" {
				n.say("ready")
				return nodeList(false).print(n.app.stdout, listOptions{format: "table"}, []client.NodeStatus{s})
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("it has joined, but is not ready within %s: see piswarm node ls, and there, journalctl -u piswarm", readyLimit)
		}
		if err := sleep(ctx, addPoll); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// debian is a package file that is open, or none.
type debian struct{ file *os.File }

// openPackage opens the package before anything is done, for a name can be mistyped.
func openPackage(name string) (debian, error) {
	if name == "" {
		return debian{}, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return debian{}, fmt.Errorf("--package: %w", err)
	}
	const magic = "!<arch>\n" // every .deb is an ar archive
	begin := make([]byte, len(magic))
	if _, err := f.ReadAt(begin, 0); err != nil || string(begin) != magic {
		f.Close()
		return debian{}, fmt.Errorf("--package %s: this is no Debian package", name)
	}
	return debian{f}, nil
}

func (d debian) close() {
	if d.file != nil {
		d.file.Close()
	}
}
