package api

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/piswarm/piswarm/agent/internal/trust"
	"github.com/piswarm/piswarm/pkg/client"
)

// callers says who may call a route.
type callers uint8

const (
	// people are who may open this node's unix socket: root and the group piswarm.
	people callers = 1 << iota
	// members are the other nodes: they have proved with a certificate that they know the cluster's secret.
	members
)

// route is one row of the API.
type route struct {
	method, pattern string
	callers         callers
	handler         http.Handler
}

// routes is the whole API, and who may call what. Members get what they need of one another: they hand over records, which
// are checked one by one, and reach the tasks of this node for the people who asked them to.
func (s *Server) routes(o Offer) []route {
	return []route{
		{"GET", "/v1/version", people, s.handle(func(*http.Request) (any, error) { return s.node.Version(), nil })},
		{"POST", "/v1/init", people, s.handle(s.init)},
		{"POST", "/v1/join", people, s.handle(s.join)},
		{"POST", "/v1/leave", people, s.handle(s.leave)},
		{"GET", "/v1/token", people, s.asMember(func(m *Member, _ *http.Request) (any, error) { return client.Token{Token: m.Token()}, nil })},
		{"POST", "/v1/token/rotate", people, s.stream(rotateToken)},

		{"GET", "/v1/status", people, s.asMember(func(m *Member, _ *http.Request) (any, error) { return status(m.View()), nil })},
		{"GET", "/v1/services", people, s.asMember(listServices)},
		{"POST", "/v1/services", people, s.asMember(createService)},
		{"GET", "/v1/services/{name}", people, s.asMember(getService)},
		{"PUT", "/v1/services/{name}", people, s.asMember(updateService)},
		{"DELETE", "/v1/services/{name}", people, s.asMember(removeService)},
		{"POST", "/v1/services/{name}/scale", people, s.asMember(scaleService)},
		{"POST", "/v1/services/{name}/rollback", people, s.asMember(rollbackService)},
		{"GET", "/v1/tasks", people, s.asMember(listTasks)},
		{"GET", "/v1/tasks/{task}", people, s.asMember(getTask)},
		{"POST", "/v1/tasks/{task}/stop", people, s.asMember(anywhere("stop", stopTime, readStop, stopTask))},
		{"POST", "/v1/tasks/{task}/kill", people, s.asMember(anywhere("kill", reachTime[client.TaskKill], read[client.TaskKill], killTask))},
		{"GET", "/v1/tasks/{task}/stats", people, s.asMember(anywhere("stats", reachTime[struct{}], nothing, taskStats))},
		{"POST", "/v1/tasks/{task}/exec", people, http.HandlerFunc(s.exec)},
		{"GET", "/v1/logs", people, http.HandlerFunc(s.logs)},
		{"GET", "/v1/stats", people, s.asMember(stats)},
		{"GET", "/v1/nodes", people, s.asMember(listNodes)},
		{"GET", "/v1/waiting", people, s.asMember(func(m *Member, _ *http.Request) (any, error) { return waiting(m), nil })},
		{"GET", "/v1/nodes/{name}", people, s.asMember(getNode)},
		{"PATCH", "/v1/nodes/{name}", people, s.asMember(updateNode)},
		{"DELETE", "/v1/nodes/{name}", people, s.asMember(removeNode)},
		{"GET", "/v1/nodes/{name}/upgrade", people, s.asMember(nodeUpgrade)},
		{"POST", "/v1/nodes/{name}/upgrade", people, http.HandlerFunc(s.upgradeNode)},
		{"GET", "/v1/images", people, s.asMember(func(m *Member, _ *http.Request) (any, error) { return images(m.View()), nil })},
		{"GET", "/v1/images/resolve", people, s.asMember(resolveImage)},
		{"POST", "/v1/images/tag", people, s.asMember(tagImage)},
		{"DELETE", "/v1/images", people, s.asMember(removeImage)},
		{"POST", "/v1/images/load", people, s.stream(loadImages)},
		{"POST", "/v1/images/pull", people, s.stream(pullImage)},
		{"GET", "/v1/secrets", people, s.asMember(listSecrets)},
		{"POST", "/v1/secrets", people, s.asMember(createSecret)},
		{"GET", "/v1/secrets/{name}", people, s.asMember(getSecret)},
		{"PUT", "/v1/secrets/{name}", people, s.asMember(sameSecret)},
		{"DELETE", "/v1/secrets/{name}", people, s.asMember(removeSecret)},
		{"GET", "/v1/configs", people, s.asMember(listConfigs)},
		{"POST", "/v1/configs", people, s.asMember(createConfig)},
		{"GET", "/v1/configs/{name}", people, s.asMember(getConfig)},
		{"PUT", "/v1/configs/{name}", people, s.asMember(sameConfig)},
		{"DELETE", "/v1/configs/{name}", people, s.asMember(removeConfig)},
		{"GET", "/v1/networks", people, s.asMember(listNetworks)},
		{"POST", "/v1/networks", people, s.asMember(createNetwork)},
		{"GET", "/v1/networks/{name}", people, s.asMember(getNetwork)},
		{"DELETE", "/v1/networks/{name}", people, s.asMember(removeNetwork)},
		{"GET", "/v1/events", people, http.HandlerFunc(s.events)},
		{"POST", "/v1/dashboard", people, s.asMember(invite)},
		{"GET", "/v1/token/metrics", people, s.asMember(metricsToken)},
		{"GET", "/metrics", people, http.HandlerFunc(s.metrics)},

		{"POST", ExchangePath, members, s.peer(o, s.exchange(o))},
		{"POST", RotationPath, members, s.peer(o, s.rotation(o))},
		{"GET", SecretPath, members, s.peer(o, secret(o))},
		{"GET", UpgradePath, members, s.peer(o, s.peerInstalled(o))},
		{"POST", UpgradePath, members, s.peer(o, s.peerUpgrade(o))},
		{"GET", AgePath, members, s.peer(o, age(o))},
		{"POST", TasksPath + "{task}/stop", members, s.asked(o, ofThisNode(readStop, stopTask))},
		{"POST", TasksPath + "{task}/kill", members, s.asked(o, ofThisNode(read[client.TaskKill], killTask))},
		{"GET", TasksPath + "{task}/stats", members, s.asked(o, ofThisNode(nothing, taskStats))},
		{"POST", TasksPath + "{task}/exec", members, s.peer(o, s.execPeer)},
		{"POST", LogsPath, members, s.peer(o, s.nodeLogs)},
		{"GET", StatsPath, members, s.asked(o, func(m *Member, _ *http.Request) (any, error) { return nodeStats(m), nil })},
		{"GET", "/v2/", members, s.peer(o, func(_ string, w http.ResponseWriter, r *http.Request) { o.Images.ServeHTTP(w, r) })}, // and HEAD
	}
}

// Handler is the API for people, for the unix socket.
func (s *Server) Handler() http.Handler { return s.door(people, Offer{}) }

// NodeHandler is the API for other members, for mutual TLS.
func (s *Server) NodeHandler(o Offer) http.Handler { return s.door(members, o) }

// door answers one kind of caller: what is for others is refused, whatever it is that was sent.
func (s *Server) door(who callers, o Offer) http.Handler {
	mux := http.NewServeMux()
	for _, row := range s.routes(o) {
		h := row.handler
		if row.callers&who == 0 {
			h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, refusal(row.callers, r)) })
		}
		mux.Handle(row.method+" "+row.pattern, h)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, notFound("no such route: %s %s", r.Method, r.URL.Path))
	})
	return mux
}

func refusal(who callers, r *http.Request) error {
	whose := "the other nodes, with the cluster's certificate"
	if who == people {
		whose = "the people on the node itself, by its socket"
	}
	return problem{http.StatusForbidden, fmt.Errorf("%s %s is for %s", r.Method, r.URL.Path, whose)}
}

// peerHandler answers one route to the member that has proved to be node from.
type peerHandler func(from string, w http.ResponseWriter, r *http.Request)

// asked answers a member with what a handler gives.
func (s *Server) asked(o Offer, h memberHandler) http.Handler {
	answer := s.asMember(h)
	return s.peer(o, func(_ string, w http.ResponseWriter, r *http.Request) { answer.ServeHTTP(w, r) })
}

// peer lets members in by what their connection has proved, also if the listener before it were told to take anyone, and
// if they are members still: a connection may be older than what was said of its other end.
func (s *Server) peer(o Offer, h peerHandler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := trust.PeerID(r.TLS)
		if err != nil {
			s.fail(w, r, problem{http.StatusForbidden, err})
			return
		}
		if o.Removed != nil && o.Removed(from) {
			s.fail(w, r, problem{http.StatusGone, fmt.Errorf("node %s was removed from this cluster: to come back, it joins as a new node", from)})
			return
		}
		if o.Current != nil && !o.Current(r.TLS) {
			w.Header().Set("Connection", "close")
			s.fail(w, r, problem{http.StatusForbidden, errors.New("this connection was made with a token that is not the cluster's any more")})
			return
		}
		h(from, w, r)
	})
}
