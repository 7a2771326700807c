// Package client speaks to a piswarm agent over its API.
//
// It owns the JSON words of the API (types.go), the way to the agent's socket, and the bounds that keep a
// faulty agent from filling the caller's memory or holding it for ever: every answer is limited in size, every
// call in time, and a stream that falls silent is given up. It prints nothing, reads no environment and
// decides nothing about the cluster, so that other people's programs can use it as the command line does:
//
//	c, err := client.New("")
//	if err != nil {
//		return err
//	}
//	tasks, err := c.Tasks(ctx, "greeters")
//
// An answer of the agent that reports a problem is an [*Error]; an agent that cannot be reached is a
// [*ConnectError]. Both say in one line what to do.
package client
