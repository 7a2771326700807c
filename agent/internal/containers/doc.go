// Package containers runs containers and keeps images through the containerd of this machine.
//
// It owns what lies in one containerd namespace (by default "piswarm"), the files that its containers get
// mounted, and the files that their output goes to. It must not touch the network (a container enters a
// network namespace that somebody else made), other namespaces of containerd, or the replicated state: it is
// told what to do, does it, and says what there is.
//
// Containers are made to be adopted. Everything that a restarted agent has to know about one is a label of the
// container in containerd, so [Runtime.List] alone is enough to carry on, and no container is ever restarted
// because the agent was. A container runs once: running a task again is [Runtime.Remove] and then
// [Runtime.Create] and [Runtime.Start] with the same ID. Each of these calls may be repeated without harm.
//
// Images are found by digest alone, so that every node runs the same bytes. A tag is for people: it names what
// a reference was last loaded or pulled as. The store is a cache, filled by [Runtime.Load] from an archive or by
// [Runtime.Pull] from the members that hold an image and from its registry; [Runtime.BlobHandler] is the other
// end of such a pull.
//
// The daemon may be as old as containerd 1.6, so only the services are used that 1.6 has.
package containers
