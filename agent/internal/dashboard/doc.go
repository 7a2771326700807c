// Package dashboard is the page that every node shows on port 7948: the shelf, live, in a browser.
//
// It is an adapter between the API and a browser. All that it shows and does it gets by a client of the API, which here
// calls the API's handler without a socket; so it can do nothing that the command line cannot.
//
// # What it costs
//
// Nothing runs while nobody looks. While somebody does, one goroutine for all viewers follows the API's events, reads
// the cluster anew after a change (four times a second at most, and less often where reading takes long), and keeps what
// it read as a [scene]. Each viewer is sent the difference between the scene that it has and the present one: a slow
// viewer skips scenes and makes nothing wait. Temperature and load are no part of the replicated state, which an idle
// cluster shall not change; they are asked of one node after the other, as long as somebody looks.
//
// # Who may look
//
// See signin.go for the one-time codes and sessions, guard.go for what every request has to pass, and package trust for
// what all of it holds against and what not. What is sent is listed field by field in scene.go and details.go: no
// environment, no argument, no label of a container, no secret and no config is among it.
package dashboard
