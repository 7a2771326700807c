// Package cli is the command line of piswarm.
//
// It owns what a user types and reads: the commands and flags (named and defaulted as docker's), the tables,
// templates and JSON of the lists, the progress of create, update and scale, and the one line that an error becomes. It
// talks to the agent through package client alone and knows the cluster only by what the agent answers; it opens no
// socket, touches no container and no network. The two commands that are the machine's side of piswarm, agent and
// lab, exist on Linux only and are added in commands_linux.go; everything else is portable.
//
// A command is one file: a constructor that takes the [app] and returns a cobra command, and the function that
// carries it out. The commands that docker knows as `service …` exist twice, as `piswarm service ls` and
// `piswarm ls`, from one constructor called twice.
package cli
