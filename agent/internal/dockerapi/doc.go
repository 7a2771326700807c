// Package dockerapi answers the Docker Engine API, so that docker's own client, and what else speaks to it, works with a
// cluster.
//
// It is an adapter between two APIs: a client of piswarm's own, in the words of pkg/client, it owns the translation and
// nothing else. It decides nothing about the cluster and keeps no state but the commands that are made and not yet
// started, for docker does that in two calls.
//
// What piswarm does not have is refused in the API's own form, {"message": …}, saying what to do instead. An option without
// effect is refused, too, or told of in the answer's Warnings: whoever moves a service here must be able to rely on what
// its description says.
package dockerapi
