package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/cluster"
	"github.com/piswarm/piswarm/pkg/lab"
)

// labUpOptions are the flags of lab up, and of the process that it starts.
type labUpOptions struct {
	nodes   int
	forward []int
}

func (o *labUpOptions) addFlags(cmd *cobra.Command) {
	cmd.Flags().IntVar(&o.nodes, "nodes", 3, "number of Pis")
	cmd.Flags().IntSliceVar(&o.forward, "forward", nil, "TCP `port` of 127.0.0.1 that leads to the same port of the Pis; can be given several times")
}

func (o *labUpOptions) args() []string {
	args := []string{"--nodes", strconv.Itoa(o.nodes)}
	for _, port := range o.forward {
		args = append(args, "--forward", strconv.Itoa(port))
	}
	return args
}

func (o *labUpOptions) check(cmd *cobra.Command) error {
	if o.nodes < 1 || o.nodes > lab.MaxNodes {
		return usageErrorf(cmd, "--nodes %d: want 1 to %d", o.nodes, lab.MaxNodes)
	}
	for _, port := range o.forward {
		if port < 1 || port > 65535 {
			return usageErrorf(cmd, "--forward %d: want a port, 1 to 65535", port)
		}
	}
	return nil
}

func newLabUpCommand(a *app) *cobra.Command {
	var o labUpOptions
	cmd := &cobra.Command{
		Use:   "up [OPTIONS]",
		Short: "Start a lab",
		Long: `Start a lab. The command is done when all Pis are up and their agents answer; the lab then runs on until piswarm lab
down.`,
		Example: `  piswarm lab up
  piswarm lab up --nodes 5 --forward 9000 --forward 7948`,
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			return labUp(cmd.Context(), a, o)
		},
		DisableFlagsInUseLine: true,
	}
	o.addFlags(cmd)
	return cmd
}

// labNews is what the process that owns the lab tells the one that started it, one JSON value after the other.
type labNews struct {
	Line  string `json:"line,omitempty"`  // progress
	Error string `json:"error,omitempty"` // the end: it failed
	Up    bool   `json:"up,omitempty"`    // the end: it is up
}

// labUp starts the process that will own the lab, shows its progress, and leaves it alone when the lab is up.
func labUp(ctx context.Context, a *app, o labUpOptions) error {
	if err := lab.Preflight(); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	news, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer news.Close()
	owner := exec.Command(self, append([]string{"lab", "serve"}, o.args()...)...)
	owner.ExtraFiles = []*os.File{theirs}
	owner.Dir = "/"
	owner.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// It gives up when this ends before the lab is up.
	leash, err := owner.StdinPipe()
	if err != nil {
		return errors.Join(err, theirs.Close())
	}
	defer leash.Close()
	err = owner.Start()
	theirs.Close()
	if err != nil {
		return fmt.Errorf("start the lab's process: %w", err)
	}
	defer context.AfterFunc(ctx, func() { leash.Close() })()
	if err := readLabNews(news, a); err != nil {
		// Its own end is after that of all it had started.
		_ = owner.Wait()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
	fmt.Fprintf(a.stdout, "The lab is up. Try: piswarm lab exec pi1 -- piswarm status\n")
	if err := sayLabPage(ctx, a, o); err != nil {
		return err
	}
	return owner.Process.Release()
}

func readLabNews(news io.Reader, a *app) error {
	decoder := json.NewDecoder(news)
	for {
		var n labNews
		if err := decoder.Decode(&n); err != nil {
			return fmt.Errorf("the lab's process ended unexpectedly; %s may say why", labLog)
		}
		switch {
		case n.Up:
			return nil
		case n.Error != "":
			// The first line is the error, what follows is from the log of a program in the lab.
			first, rest, _ := strings.Cut(n.Error, "\n")
			if rest != "" {
				fmt.Fprintln(a.stderr, rest)
			}
			return errors.New(first)
		default:
			fmt.Fprintln(a.stdout, n.Line)
		}
	}
}

// sayLabPage prints the link to the page of the first Pi, as the browser of this machine reaches it.
func sayLabPage(ctx context.Context, a *app, o labUpOptions) error {
	if !slices.Contains(o.forward, cluster.DashboardPort) {
		fmt.Fprintf(a.stdout, "With --forward %d, it has a page for your browser.\n", cluster.DashboardPort)
		return nil
	}
	l, err := lab.Connect(ctx, labSocket)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, labPageTime)
	defer cancel()
	var out, complaint bytes.Buffer
	for {
		out.Reset()
		complaint.Reset()
		code, err := l.Exec(ctx, "pi1", []string{"piswarm", "dashboard", "--write"}, lab.Stdio{Out: &out, Err: &complaint})
		if err == nil && code == exitDone {
			break
		}
		// An agent answers some moments before it is a member of the cluster.
		select {
		case <-ctx.Done():
			return fmt.Errorf("the lab is up, but pi1 has no page: %s", strings.TrimSpace(complaint.String()))
		case <-time.After(labPageRetry):
		}
	}
	link, err := url.Parse(strings.TrimSpace(out.String()))
	if err != nil {
		return fmt.Errorf("the lab is up, but the link to its page is none: %w", err)
	}
	link.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(cluster.DashboardPort))
	fmt.Fprintf(a.stdout, "Watch it in your browser, by this link, once: %s\n", link)
	return nil
}

// The page of a Pi that has just come up is there within labPageTime.
const labPageTime, labPageRetry = 20 * time.Second, 100 * time.Millisecond
