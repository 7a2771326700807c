package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/piswarm/piswarm/pkg/client"
)

func newJoinCommand(a *app) *cobra.Command {
	var token, tokenFile string
	cmd := &cobra.Command{
		Use:   "join (--token TOKEN | --token-file FILE) [ADDRESS...]",
		Short: "Make this node a member of a cluster",
		Long: `Make this node a member of the cluster that the token belongs to.

Nodes on one network find each other by themselves. Addresses of members are needed only where mDNS does not reach. A
token on the command line is readable for every user of this machine while the command runs; --token-file - reads it
from standard input instead.

A node that was off while the token was changed takes the new one in the same way, and stays the node that it is.`,
		Example: `  piswarm join --token PSWM-1-…
  ssh pi@pi1 piswarm token | piswarm join --token-file -
  piswarm join --token-file /boot/piswarm.token 192.168.2.20`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			secret, err := readToken(a, token, tokenFile)
			if err != nil {
				return &usageError{cmd, err}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			written, err := c.Join(cmd.Context(), client.Join{Token: secret, Addresses: args})
			if err != nil {
				return err
			}
			a.warn(written)
			_, err = fmt.Fprintln(a.stdout, "This node has joined the cluster. See piswarm status.")
			return err
		},
		DisableFlagsInUseLine: true,
	}
	cmd.Flags().StringVar(&token, "token", "", "the cluster's `token`, as piswarm token prints it")
	cmd.Flags().StringVar(&tokenFile, "token-file", "", "read the token from a `file` (-: standard input)")
	return cmd
}

// readToken returns the token from where the user has it: the first line of a file, or the flag.
func readToken(a *app, token, file string) (string, error) {
	const maxToken = 4 << 10
	if file != "" && token != "" {
		return "", errors.New("want --token or --token-file, not both")
	}
	if file == "" {
		if token == "" {
			return "", errors.New("the cluster's token is missing: --token TOKEN or --token-file FILE, as piswarm token prints it on a member")
		}
		return token, nil
	}
	in := a.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("--token-file: %w", err)
		}
		defer f.Close()
		in = f
	}
	line, err := bufio.NewReader(io.LimitReader(in, maxToken)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("--token-file: read %s: %w", file, err)
	}
	if token = strings.TrimSpace(line); token == "" {
		return "", fmt.Errorf("--token-file: the first line of %s is empty: want what piswarm token prints", file)
	}
	return token, nil
}
