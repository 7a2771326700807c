package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
	"github.com/piswarm/piswarm/pkg/cluster"
)

func newUpgradeCommand(a *app) *cobra.Command {
	u := upgrade{app: a}
	var from []string
	cmd := &cobra.Command{
		Use:   "upgrade --from DIRECTORY|FILE [OPTIONS]",
		Short: "Install another version of piswarm on all nodes",
		Long: `Install another version of piswarm on all nodes, one after the other. Each has to be well with it, with all
tasks running that ran before, before it is the next one's turn; the node that is asked comes last. Containers run on
and ports answer meanwhile. A node that is not well goes back by itself to what it had, and the others stay as they are.

DIRECTORY holds the packages as they are released, piswarm_VERSION_ARCHITECTURE.deb: each node gets the one for it.
Nodes on which piswarm is a program without a package take piswarm-linux-ARCHITECTURE. What a node has already it does
not get again, so a command that was interrupted is finished by the next one.`,
		Example: `  piswarm upgrade --from ./packages/
  piswarm -H ssh://pi@pi1.local upgrade --from piswarm_1.3.0_armhf.deb`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(from) == 0 {
				return usageErrorf(cmd, "--from is missing: name the directory with the packages")
			}
			var err error
			if u.files, err = upgradeFiles(from); err != nil {
				return err
			}
			if u.client, err = a.connect(); err != nil {
				return err
			}
			return u.run(cmd.Context())
		},
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().StringArrayVar(&from, "from", nil, "`directory` with the packages, or one of them (several times)")
	cmd.Flags().BoolVar(&u.downgrade, "allow-downgrade", false, "install a package also where a newer one is")
	return cmd
}

const (
	upgradeLimit   = 15 * time.Minute // for one node: apt on a Pi Zero
	upgradeSilence = 4 * time.Minute  // without an answer of a node whose agent starts anew
	upgradeReady   = time.Minute      // for the others to see the node as it is
	upgradePoll    = 500 * time.Millisecond
)

// upgrade moves all nodes to another version.
type upgrade struct {
	app       *app
	client    *client.Client
	files     map[string]*upgradeFile // by what they are for
	downgrade bool
}

// nodeToUpgrade is a node with what it has and gets.
type nodeToUpgrade struct {
	client.NodeStatus
	has  client.Upgrade
	file *upgradeFile
}

func (u *upgrade) run(ctx context.Context) error {
	nodes, away, err := u.plan(ctx)
	if err != nil {
		return err
	}
	for i, n := range nodes {
		if n.file == nil {
			u.say(n, "has it already")
			continue
		}
		if err := u.one(ctx, n); err != nil {
			return u.stopped(n, nodes[i+1:], err)
		}
	}
	if len(away) > 0 {
		return &notConvergedError{"upgrade", "off, and left out: " + strings.Join(away, ", ") + "; run it again when all are on"}
	}
	return nil
}

// plan asks the nodes what they have, and finds out what each gets, before anything is done. The node that is asked is
// the last. Those that are not ready are named apart.
func (u *upgrade) plan(ctx context.Context) (nodes []nodeToUpgrade, away []string, err error) {
	self, err := u.client.Version(ctx)
	if err != nil {
		return nil, nil, err
	}
	all, err := u.client.Nodes(ctx)
	if err != nil {
		return nil, nil, err
	}
	var errs []error
	for _, s := range all {
		if s.State != cluster.Ready {
			if s.State == cluster.Down {
				away = append(away, s.Name)
			}
			continue
		}
		n := nodeToUpgrade{NodeStatus: s}
		if n.has, err = u.client.NodeUpgrade(ctx, s.ID); err != nil {
			errs = append(errs, fmt.Errorf("%s cannot be upgraded from here: %w", s.Name, err))
			continue
		}
		file := u.files[fileKey(n.has.Kind, n.has.Platform)]
		if file == nil {
			errs = append(errs, fmt.Errorf("there is nothing for %s: it needs %s", s.Name, fileName(n.has.Kind, n.has.Platform)))
			continue
		}
		if err := file.sum(); err != nil {
			return nil, nil, err
		}
		if n.has.Installed != file.version {
			n.file = file
		}
		nodes = append(nodes, n)
	}
	slices.SortStableFunc(nodes, func(a, b nodeToUpgrade) int {
		last := func(n nodeToUpgrade) int {
			if n.ID == self.NodeID {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(last(a), last(b)), cmp.Compare(a.Name, b.Name))
	})
	return nodes, away, errors.Join(errs...)
}

// one moves one node, and waits until it is well.
func (u *upgrade) one(ctx context.Context, n nodeToUpgrade) error {
	ctx, cancel := context.WithTimeoutCause(ctx, upgradeLimit, fmt.Errorf("it is not done within %s: see there, journalctl -u piswarm-upgrade", upgradeLimit))
	defer cancel()
	u.say(n, "sending %s (%d MB)", n.file.name(), n.file.size>>20)
	f, err := os.Open(n.file.path)
	if err != nil {
		return err
	}
	defer f.Close()
	file := client.UpgradeFile{Kind: n.has.Kind, SHA256: n.file.sha256, Size: n.file.size, Downgrade: u.downgrade}
	if err := u.client.UpgradeNode(ctx, n.ID, file, f); err != nil {
		return err
	}
	end, err := u.await(ctx, n)
	if err != nil {
		return err
	}
	if err := u.awaitSeen(ctx, n, end.Version); err != nil {
		return err
	}
	u.say(n, "upgraded from %s to %s", n.has.Version, end.Version)
	return nil
}

// await follows what the node does. Its agent does not answer for a while.
func (u *upgrade) await(ctx context.Context, n nodeToUpgrade) (client.UpgradeState, error) {
	said := ""
	for heard := time.Now(); ; {
		now, err := u.client.NodeUpgrade(ctx, n.ID)
		switch last := now.Last; {
		case err != nil:
			if time.Since(heard) > upgradeSilence {
				return last, fmt.Errorf("it does not answer within %s: see there, journalctl -u piswarm-upgrade: %w", upgradeSilence, err)
			}
		case last.SHA256 != n.file.sha256:
			return last, errors.New("somebody else upgrades it, too")
		case last.State == client.UpgradeDone:
			return last, nil
		case last.State == client.UpgradeFailed:
			return last, &notConvergedError{n.Name, "it is back at " + last.Version + ", because: " + last.Error}
		default:
			heard = time.Now()
			if last.Message != said {
				said = last.Message
				u.say(n, "%s", said)
			}
		}
		if sleep(ctx, upgradePoll) != nil {
			return client.UpgradeState{}, context.Cause(ctx)
		}
	}
}

// awaitSeen waits until the cluster counts on the node in its new version.
func (u *upgrade) awaitSeen(ctx context.Context, n nodeToUpgrade, version string) error {
	for deadline := time.Now().Add(upgradeReady); ; {
		node, err := u.client.Node(ctx, n.ID)
		if err == nil && node.State == cluster.Ready && node.Description.Version == version {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.Join(&notConvergedError{n.Name, fmt.Sprintf("it has %s, and the others do not see it so within %s", version, upgradeReady)}, err)
		}
		if sleep(ctx, upgradePoll) != nil {
			return context.Cause(ctx)
		}
	}
}

// stopped says what did not work, and which nodes are as they were.
func (u *upgrade) stopped(n nodeToUpgrade, rest []nodeToUpgrade, err error) error {
	var names []string
	for _, r := range rest {
		if r.file != nil {
			names = append(names, r.Name)
		}
	}
	if len(names) > 0 {
		fmt.Fprintln(u.app.stderr, "not touched: "+strings.Join(names, ", "))
	}
	var notConverged *notConvergedError
	if errors.As(err, &notConverged) {
		return err
	}
	return fmt.Errorf("%s: %w", n.Name, err)
}

func (u *upgrade) say(n nodeToUpgrade, format string, args ...any) {
	fmt.Fprintln(u.app.stdout, oneLine(n.Name+": "+fmt.Sprintf(format, args...)))
}
