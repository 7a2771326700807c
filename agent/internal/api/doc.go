// Package api answers the HTTP API: on the unix socket for people and on the node API for other members. The
// types that travel are those of pkg/client.
//
// It reads a view of the cluster and writes records of the user's (services, secrets, configs, nodes); what follows from them is
// for the loops to do. A write is checked as a whole before anything is changed, and a call that says it is done
// says how many nodes hold what it wrote.
package api
