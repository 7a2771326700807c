// Package upgrade exchanges the piswarm of this machine for another one, and takes it back if that does no good.
//
// The agent takes the file in ([Target.Take]): a Debian package where piswarm is installed as one, else the program
// itself. What then happens to the agent must not happen to whoever does it, so that is a process of its own, the keeper
// ([Keeper.Run]): a unit of systemd, or where there is none a process beside the agent. It is the program that the
// agent was until now, for that one is known to work:
//
//	look       does the new program run on this machine at all
//	keep       the old package is made anew from what is installed
//	exchange   the package manager installs the package; or the program's file is replaced in one step
//	watch      does the new agent answer, is it ready, do the tasks run that ran before
//	go back    if not, or if any of it fails: the same with the old one
//
// Everything is in one directory. An order that is there is to be carried out, whatever power cut came between: each step
// may be done again. What came of the last one is in a file beside it, which the next agent tells.
//
// The package runs programs (dpkg, apt-get, systemctl), and asks the agent by its socket as any person does. It knows
// nothing of other nodes.
package upgrade
