// Package gossip is the adapter to serf: who the members are, and small messages to all of them. It carries
// bytes and knows nothing of their meaning, and it never touches the replicated state.
//
// Every packet is encrypted and authenticated with the cluster's gossip key; there is no plaintext mode. A node
// goes by its node ID, not its host name, so two Pis with the same host name are two members.
//
// Besides messages, a small payload rides on every acknowledgement of a failure-detection probe, which are
// sent anyway: this is how nodes compare the digest of their state with a different peer at each probe, at
// no packet of its own.
//
// # Failure detection
//
// A LAN of Pis has round trips of 0.3 ms (wired) to 30 ms (Wi-Fi without power save). memberlist's LAN defaults
// (probe every 1 s, answer within 500 ms, suspicion for 4·log10(n+1)·1 s) took 5.0 to 7.1 s until the last of three
// or five nodes knew of a power cut. Probing every 400 ms with 250 ms for the direct answer and a suspicion
// multiplier of 3 brings it to about 1.5 s; indirect probes by three others and the TCP fallback stay on,
// so one lost packet accuses nobody.
package gossip

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"github.com/piswarm/piswarm/pkg/cluster"
)

// MaxMessage is the largest message in bytes: with serf's and memberlist's headers and the encryption it still
// fits one UDP packet of 1400 bytes.
const MaxMessage = 1000

// eventName is the name of all of serf's user events here; the payload says the rest.
const eventName = "p"

// nameTag is the serf tag that carries the host name.
const nameTag = "name"

// Config of a member. All fields but Payload, OnAck and Transport are needed.
type Config struct {
	ID      string
	Key     []byte     // AES-256
	Address netip.Addr // on the LAN, told to the others
	Port    int
	Name    string // host name
	Log     *slog.Logger
	// Payload is asked for what to put on the next acknowledgement; it must be quick and short.
	Payload func() []byte
	// OnAck is told what came on the acknowledgement of a probe of that peer. It must not block.
	OnAck func(peer string, payload []byte, rtt time.Duration)
	// Transport carries the packets and streams instead of this machine's sockets: tests bring a network of their own.
	Transport memberlist.Transport
}

// Gossip is this node's membership. Make one with Start, end it with Close.
type Gossip struct {
	serf     *serf.Serf
	events   chan serf.Event
	messages chan []byte
	changed  chan struct{}
	done     chan struct{}
	stop     context.CancelFunc
	once     sync.Once
}

// Start makes this node a member of a cluster of one, ready to Join others.
func Start(cfg Config) (*Gossip, error) {
	ml := memberlist.DefaultLANConfig()
	ml.Name = cfg.ID
	ml.BindAddr = "0.0.0.0"
	ml.BindPort = cfg.Port
	ml.AdvertiseAddr = cfg.Address.String()
	ml.AdvertisePort = cfg.Port
	ml.SecretKey = cfg.Key
	ml.ProbeInterval = 400 * time.Millisecond
	ml.ProbeTimeout = 250 * time.Millisecond
	ml.SuspicionMult = 3
	ml.SuspicionMaxTimeoutMult = 2
	ml.GossipInterval = 100 * time.Millisecond
	ml.GossipToTheDeadTime = 30 * time.Second
	ml.TCPTimeout = 4 * time.Second // a first SYN and two more
	// A node whose address changed while it was off may take its name back at once.
	ml.DeadNodeReclaimTime = time.Second
	// Packets are small, and what is large in them is deflated already: memberlist's own compression allocates an
	// encoder for each packet, which was a third of an idle agent's processor time.
	ml.EnableCompression = false
	ml.LogOutput = nil
	ml.Logger = slog.NewLogLogger(levelHandler{cfg.Log.Handler()}, slog.LevelInfo)
	ml.Ping = acks{cfg}
	ml.Transport = cfg.Transport

	conf := serf.DefaultConfig()
	conf.Init()
	conf.NodeName = cfg.ID
	conf.Tags = map[string]string{nameTag: cfg.Name}
	conf.MemberlistConfig = ml
	conf.LogOutput = nil
	conf.Logger = ml.Logger
	conf.DisableCoordinates = true // leaves the acknowledgements to us
	conf.EnableNameConflictResolution = false
	conf.UserEventSizeLimit = 2 * MaxMessage // of the whole message with its header; ours is checked in Broadcast
	conf.ReconnectInterval = 5 * time.Second
	conf.LeavePropagateDelay = 500 * time.Millisecond
	events := make(chan serf.Event, 256)
	conf.EventCh = events

	s, err := serf.Create(conf)
	if err != nil {
		return nil, fmt.Errorf("start gossip on port %d: %w", cfg.Port, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	g := &Gossip{
		serf:     s,
		events:   events,
		messages: make(chan []byte, 256),
		changed:  make(chan struct{}, 1),
		done:     make(chan struct{}),
		stop:     stop,
	}
	go g.run(ctx)
	return g, nil
}

// run sorts serf's events until Close.
func (g *Gossip) run(ctx context.Context) {
	defer close(g.done)
	for {
		select {
		case <-ctx.Done():
			g.makeRoom()
			return
		case e := <-g.events:
			switch e := e.(type) {
			case serf.UserEvent:
				select {
				case g.messages <- e.Payload:
				default: // the receiver is behind; comparing digests brings what is missed here
				}
			case serf.MemberEvent:
				select {
				case g.changed <- struct{}{}:
				default:
				}
			}
		}
	}
}

// makeRoom empties the channel of events, so that serf, which may have a last few of them to hand over, does not wait
// for a reader that has gone.
func (g *Gossip) makeRoom() {
	for {
		select {
		case <-g.events:
		default:
			return
		}
	}
}

// Messages delivers what other members broadcast, and this node's own. When nobody reads, messages are lost.
func (g *Gossip) Messages() <-chan []byte { return g.messages }

// Changed is signalled after every change of Members.
func (g *Gossip) Changed() <-chan struct{} { return g.changed }

// Members returns every member known, this node included, in order of ID.
func (g *Gossip) Members() []cluster.Member {
	seen := g.serf.Members()
	members := make([]cluster.Member, 0, len(seen))
	for _, m := range seen {
		condition := cluster.Down
		switch m.Status {
		case serf.StatusAlive:
			condition = cluster.Ready
		case serf.StatusLeft, serf.StatusLeaving:
			condition = cluster.Left
		}
		address, _ := netip.AddrFromSlice(m.Addr)
		members = append(members, cluster.Member{
			ID: m.Name, Name: m.Tags[nameTag], Address: address.Unmap(), Condition: condition,
		})
	}
	slices.SortFunc(members, func(a, b cluster.Member) int { return strings.Compare(a.ID, b.ID) })
	return members
}

// Join contacts the nodes at these addresses and returns how many of them answered. The error tells why the
// last of the others did not.
func (g *Gossip) Join(addresses []netip.AddrPort) (int, error) {
	texts := make([]string, 0, len(addresses))
	for _, a := range addresses {
		texts = append(texts, net.JoinHostPort(a.Addr().String(), strconv.Itoa(int(a.Port()))))
	}
	return g.serf.Join(texts, true)
}

// Broadcast sends a message of at most MaxMessage bytes to all members, sooner or later; it may be lost.
func (g *Gossip) Broadcast(message []byte) error {
	if len(message) > MaxMessage {
		return fmt.Errorf("gossip message of %d bytes: at most %d", len(message), MaxMessage)
	}
	return g.serf.UserEvent(eventName, message, false)
}

// Forget removes a member that is gone for good.
func (g *Gossip) Forget(id string) error { return g.serf.RemoveFailedNodePrune(id) }

// Leave tells the others that this node goes for good, and waits until they were told or the bound is over.
func (g *Gossip) Leave() error { return g.serf.Leave() }

// Close ends the membership without a word: to the others this node is down soon after, unless it comes back. A
// probe or a connection that is under way when it returns ends by its own timeout within a few seconds.
func (g *Gossip) Close() {
	g.once.Do(func() {
		g.serf.Shutdown()
		g.stop()
		<-g.done
	})
}

// acks puts the payload on acknowledgements and hands on what came with others'.
type acks struct{ cfg Config }

func (a acks) AckPayload() []byte {
	if a.cfg.Payload == nil {
		return nil
	}
	return a.cfg.Payload()
}

func (a acks) NotifyPingComplete(other *memberlist.Node, rtt time.Duration, payload []byte) {
	if a.cfg.OnAck != nil {
		a.cfg.OnAck(other.Name, slices.Clone(payload), rtt)
	}
}

// levelHandler gives each line of serf's and memberlist's log the level it names: "[WARN] serf: …".
type levelHandler struct{ slog.Handler }

func (h levelHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h levelHandler) Handle(ctx context.Context, r slog.Record) error {
	level, text := slog.LevelDebug, r.Message
	if rest, ok := strings.CutPrefix(text, "["); ok {
		if name, message, ok := strings.Cut(rest, "] "); ok {
			text = message
			switch name {
			case "WARN":
				level = slog.LevelDebug // what it warns of (a slow probe, a refused message) is its daily work
			case "ERR", "ERROR":
				level = slog.LevelWarn
			}
		}
	}
	if !h.Handler.Enabled(ctx, level) {
		return nil
	}
	out := slog.NewRecord(r.Time, level, strings.TrimSpace(text), r.PC)
	return h.Handler.Handle(ctx, out)
}
