package dockerapi

import (
	"net/http"
)

// routes are those that are answered, and those that are refused by name, with what to do instead.
func (s *server) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_ping", s.ping) // and HEAD
	for pattern, h := range map[string]handler{
		"GET /version": s.version,
		"GET /info":    s.info,

		"POST /swarm/init":   s.swarmInit,
		"POST /swarm/join":   s.swarmJoin,
		"POST /swarm/leave":  s.swarmLeave,
		"GET /swarm":         s.swarmInspect,
		"POST /swarm/update": s.swarmUpdate,

		"GET /nodes":              s.nodeList,
		"GET /nodes/{id}":         s.nodeInspect,
		"POST /nodes/{id}/update": s.nodeUpdate,
		"DELETE /nodes/{id}":      s.nodeRemove,

		"GET /services":              s.serviceList,
		"POST /services/create":      s.serviceCreate,
		"GET /services/{id}":         s.serviceInspect,
		"POST /services/{id}/update": s.serviceUpdate,
		"DELETE /services/{id}":      s.serviceRemove,

		"GET /tasks":      s.taskList,
		"GET /tasks/{id}": s.taskInspect,

		"POST /containers/{id}/stop":    s.containerStop,
		"POST /containers/{id}/restart": s.containerRestart,
		"POST /containers/{id}/kill":    s.containerKill,
		"POST /containers/{id}/exec":    s.execCreate,
		"POST /exec/{id}/resize":        s.execResize,
		"GET /exec/{id}/json":           s.execInspect,

		"GET /containers/json":      s.containerList,
		"GET /containers/{id}/json": s.containerInspect,

		"GET /images/json":            s.imageList,
		"GET /images/{rest...}":       s.imageGet,
		"POST /images/{rest...}":      s.imagePost,
		"DELETE /images/{rest...}":    s.imageRemove,
		"GET /distribution/{rest...}": s.distribution,

		"GET /networks":         s.networkList,
		"GET /networks/{id}":    s.networkInspect,
		"POST /networks/create": s.networkCreate,
		"DELETE /networks/{id}": s.networkRemove,

		"GET /volumes":           s.volumeList,
		"GET /volumes/{name}":    s.volumeInspect,
		"POST /volumes/create":   s.volumeCreate,
		"DELETE /volumes/{name}": s.volumeRemove,

		"GET /secrets":              s.secretList,
		"POST /secrets/create":      s.secretCreate,
		"GET /secrets/{id}":         s.secretInspect,
		"POST /secrets/{id}/update": s.secretUpdate,
		"DELETE /secrets/{id}":      s.secretRemove,

		"GET /configs":              s.configList,
		"POST /configs/create":      s.configCreate,
		"GET /configs/{id}":         s.configInspect,
		"POST /configs/{id}/update": s.configUpdate,
		"DELETE /configs/{id}":      s.configRemove,
	} {
		mux.HandleFunc(pattern, s.handle(h))
	}
	// These stream, or take the connection over.
	mux.HandleFunc("GET /events", s.events)
	mux.HandleFunc("GET /services/{id}/logs", s.serviceLogs)
	mux.HandleFunc("GET /tasks/{id}/logs", s.taskLogs)
	mux.HandleFunc("GET /containers/{id}/logs", s.containerLogs)
	mux.HandleFunc("GET /containers/{id}/stats", s.containerStats)
	mux.HandleFunc("POST /exec/{id}/start", s.execStart)
	mux.HandleFunc("POST /images/create", s.imageCreate)
	mux.HandleFunc("POST /images/load", s.imageLoad)
	for pattern, instead := range refused {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, unsupported("%s", instead)) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { s.fail(w, r, noRoute(r)) })
	return mux
}

func noRoute(r *http.Request) error {
	return notFound("page not found: piswarm has nothing that answers %s %s", r.Method, r.URL.Path)
}

const (
	noContainers = "piswarm runs services: there is no single container to make or change; use `docker service create`"
	noBuilder    = "piswarm builds no images: build elsewhere, then `docker load` or pull"
	noPlugins    = "piswarm has no plugins"
	noLock       = "piswarm has no lock on its managers: every node holds everything, readable for its root alone"
	noPrune      = "piswarm prunes by itself where that is safe, and nothing else is to be pruned"
	noCheckpoint = "piswarm makes no checkpoints"
)

// refused is what docker has and piswarm has not.
var refused = map[string]string{
	"POST /containers/create":           noContainers,
	"POST /containers/prune":            noPrune,
	"POST /containers/{id}/start":       "a task's container is started by its node: `docker service update --force` replaces all of a service",
	"POST /containers/{id}/rename":      "the container of a task is named by its service",
	"POST /containers/{id}/update":      "what a container may use is its service's matter: `docker service update`",
	"POST /containers/{id}/wait":        "a task is its service's: `docker service ps` shows how it ended",
	"POST /containers/{id}/resize":      "tasks have no terminal",
	"POST /containers/{id}/pause":       "a task is not paused: `docker service scale` stops it",
	"POST /containers/{id}/unpause":     "a task is not paused",
	"POST /containers/{id}/attach":      "tasks have no terminal to attach to: `docker logs -f` shows what they write, `docker exec` runs a command",
	"GET /containers/{id}/attach/ws":    "tasks have no terminal to attach to",
	"DELETE /containers/{id}":           "the container of a task goes with it: `docker service scale` or `docker service rm`",
	"GET /containers/{id}/top":          "`docker exec` with ps shows the processes of a container",
	"GET /containers/{id}/changes":      "what a container has changed in its files is not kept account of",
	"GET /containers/{id}/export":       "a container's files are not exported",
	"GET /containers/{id}/archive":      "files are not copied out of containers: `docker exec` with cat or tar",
	"PUT /containers/{id}/archive":      "files are not copied into containers: use a config, a secret or a volume",
	"HEAD /containers/{id}/archive":     "files are not copied out of containers",
	"GET /containers/{id}/checkpoints":  noCheckpoint,
	"POST /containers/{id}/checkpoints": noCheckpoint,
	"POST /build":                       noBuilder,
	"POST /build/prune":                 noBuilder,
	"POST /session":                     noBuilder,
	"POST /grpc":                        noBuilder,
	"POST /commit":                      noBuilder,
	"POST /auth":                        "signing in to a registry: piswarm pulls public images; load others with `docker load`",
	"GET /images/search":                "piswarm does not search registries",
	"GET /images/get":                   "piswarm does not save images, it loads them",
	"POST /images/prune":                noPrune,
	"POST /networks/prune":              noPrune,
	"POST /networks/{id}/connect":       "a service belongs to networks, not a container: `docker service update --network-add`",
	"POST /networks/{id}/disconnect":    "a service belongs to networks, not a container: `docker service update --network-rm`",
	"POST /volumes/prune":               noPrune,
	"PUT /volumes/{name}":               "a volume has nothing that could be changed",
	"GET /swarm/unlockkey":              noLock,
	"POST /swarm/unlock":                noLock,
	"GET /plugins":                      noPlugins,
	"GET /plugins/privileges":           noPlugins,
	"POST /plugins/pull":                noPlugins,
	"POST /plugins/create":              noPlugins,
	"GET /system/df":                    "what images and containers take up is shown by `docker image ls` and `docker stats`",
}
