// Package agent is one node of piswarm, and this page is the map of the whole.
//
// # From power-on to an answered request
//
// agent.go opens what the node knows of itself (identity), its neighbours on the machine (containers for
// containerd, network for netlink) and the socket that people talk to (api). membership.go decides whether the node
// is in a cluster; while it is not, waiting.go says so on the LAN; while it is, session.go runs everything that makes it
// a member:
//
//	      mDNS            serf gossip         TLS node API
//	    discovery           gossip            peers, api
//	        │                 │                   │
//	        └── addresses ────┤            ┌──────┘
//	                          │ members    │ messages
//	                          ▼            ▼
//	                   ┌─ replication ── pkg/state ── snapshot (disk)
//	                   │        │
//	                   │      view        what this node knows, in the words of pkg/cluster
//	                   │        │
//	       ┌───────────┴──┬─────┴──────┬──────────────┐
//	     leader         worker      ingress          api
//	pkg/scheduler          │     pkg/loadbalance   pkg/client's types
//	     │                 │           │
//	   plans        containers,    network, firewall, dns
//	                network
//	                    │
//	                  report
//
// A user's command becomes a record (service/NAME) on whichever node it was typed. Replication saves it, hands it to
// two more nodes and gossips it. The leader, which every node computes alone, answers with a plan. Each node's worker
// makes its containers be those of the plans and says in its report what became of them. Each node's ingress turns
// plans and reports into packet filter rules, routes and names.
//
// What somebody wants of one task (its output, a command in it, its end) goes to the task's node without a record: api finds
// that node and asks it by peers, and tasks.go reaches its containers.
//
// The page that each node shows (page.go, dashboard) is a client of api like the command line, in the same process. What
// the parts count (metrics.go) is read when Prometheus asks.
//
// What a user wants kept secret is sealed on the node where it is typed (vault.go), and opened by the worker of a node
// that is about to make a container that reads it.
//
// # When it ends
//
// A session ends because the agent does, because the node leaves the cluster (farewell.go), has another address
// (address.go), or because it turns out to run on a copy of another node's card (twin.go); the last two begin a new
// one. So does a newer token of its cluster, which it missed while it was off (lookout.go); a node that was removed from
// its cluster clears up and goes (removal.go). While it lasts, the cluster's secret may change (rotate.go). A machine
// that is shut down first hands its tasks over (shutdown.go). Whatever hangs, systemd's watchdog learns of it
// (agent.go).
//
// Another version of piswarm takes this one's place by a process that outlives it (upgrade.go). While a node leads, it may
// have an address that the LAN knows the cluster by (vip.go).
//
// # Who may import whom
//
// agent/cmd imports agent/cli, that imports agent, that imports loops and adapters, all of them import pkg. Adapters
// (gossip, discovery, containers, network, firewall, dns, snapshot, identity, peers, api, doctor, boot, upgrade, floating,
// dashboard, dockerapi) know neither one another nor a loop. Beside them stand trust, the vocabulary of keys; gate, which bounds what strangers may open;
// reaper, which is a container's first process where it asks for one. Loops (leader, worker, ingress, replication) name
// the data types of the adapters that they drive and get their behaviour as interfaces. Package rotation decides how a
// secret is changed; agent joins it with the others. The packages that decide (pkg/state, pkg/scheduler,
// pkg/loadbalance) are pure. imports_test.go holds all of this.
//
// # What waits for what
//
// A restarted agent leaves everything as it is until it knows what is wanted: the worker adopts what runs and reports
// it; the node compares its state with a peer's, or finds that there is none (settle); then it has its place in the
// pod network (place.go), leader and ingress begin, and when the ingress stands the worker starts and stops
// containers. What another node said of itself before a partition counts again when the two have compared their states
// (hearing.go).
package agent
