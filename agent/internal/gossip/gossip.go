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
// A failure detector that is alone is fast or calm, not both, so here are two. serf is set to be fast: it probes one
// member every 400 ms with 250 ms for the direct answer, then by three others and by TCP, and one that has not
// contradicted 400 ms later has failed (settings.go). Awareness stays on: a node that has trouble itself accuses less.
// Then each node asks the accused itself, up to sixteen times within a patience that follows from the round trips and
// losses seen for that member: 0.3 s on a wire, 0.5 to 1 s on Wi-Fi, up to 3 s for a Pi Zero with power save or a
// member that nobody knows yet (link.go, ask.go). One that answers stays ready and is helped back in (opinion.go).
//
// What the bench measured (agent/e2e/bench, section detection; bare members on a bridge, each variant in the same
// processes at the same time, medians of ten power cuts until the last member knew):
//
//	                        3 members   5 members
//	serf as it comes           6.0 s       6.2 s
//	here                       1.5 s       1.6 s
//
// In ten minutes at 0, 5 and 20 % random loss each way, with three and with five members, nobody who lived was seen down
// here, and one once by serf as it comes. The machine was overloaded ten times meanwhile. A member whose processor or
// link stands still for longer than the times above does look dead, that is what they mean: on a machine on which the
// members ran behind everything else (nice), before a node that stood still itself asked again, five members saw a
// living one down 24 times in such ten minutes, and 8 times with serf as it comes.
//
// What it costs when nothing happens: 5 packets a second that a member receives, where serf as it comes has 2. An
// accused that lives costs a few packets, one that is dead sixteen from each of the others.
//
// Members that are down are knocked at every two seconds (knock.go), so that a healed partition is one cluster again
// within about that time however long it lasted: serf forgets no failed member here, and Config.Known names those that it
// never knew. A node that comes back with another address is followed as soon as the old one is silent (conflict.go).
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

// Config of a member. Only what is said to be optional may be left out.
type Config struct {
	ID      string
	Key     []byte     // AES-256
	Other   []byte     // a second key whose packets are understood; optional
	Address netip.Addr // on the LAN, told to the others
	Port    int
	Name    string // host name
	Log     *slog.Logger
	// Payload is asked for what to put on the next acknowledgement; it must be quick and short. Optional.
	Payload func() []byte
	// OnAck is told what came on the acknowledgement of a probe of that peer. It must not block. Optional.
	OnAck func(peer string, payload []byte, rtt time.Duration)
	// Known is asked for addresses at which members may be that serf does not know. They are knocked at. Optional.
	Known func() []netip.AddrPort
	// OnConflict is told, at most once a minute, of an address where a second node goes by the ID of a living member,
	// perhaps this one's: a card was cloned. It must not block. Optional.
	OnConflict func(address netip.AddrPort)
	// Transport carries the packets and streams instead of this machine's sockets: tests bring a network of their own.
	Transport memberlist.Transport
}

// Gossip is this node's membership. Make one with Start, end it with Close.
type Gossip struct {
	serf       *serf.Serf
	transport  *transport
	log        *slog.Logger
	asker      *asker
	links      links
	claims     *claims
	keys       *memberlist.Keyring
	known      func() []netip.AddrPort
	onConflict func(netip.AddrPort)

	events   chan serf.Event
	messages chan []byte
	changed  chan struct{}
	joining  chan struct{}  // has room for one
	work     sync.WaitGroup // all goroutines of this package
	stop     context.CancelFunc
	once     sync.Once

	mu     sync.Mutex
	trials map[string]*trial // by ID, of the members that serf says have failed
}

// Start makes this node a member of a cluster of one, ready to Join others.
func Start(cfg Config) (*Gossip, error) {
	g := &Gossip{
		log:        cfg.Log,
		claims:     newClaims(),
		known:      cfg.Known,
		onConflict: cfg.OnConflict,
		events:     make(chan serf.Event, 256),
		messages:   make(chan []byte, 256),
		changed:    make(chan struct{}, 1),
		joining:    make(chan struct{}, 1),
		links:      links{all: map[string]*link{}},
		trials:     map[string]*trial{},
		asker: &asker{
			id: cfg.ID, address: netip.AddrPortFrom(cfg.Address, uint16(cfg.Port)), waiting: map[uint64]chan<- answer{},
		},
	}
	var err error
	if g.keys, err = keyring(cfg); err != nil {
		return nil, fmt.Errorf("start gossip on port %d: %w", cfg.Port, err)
	}
	conf := membership(cfg)
	conf.EventCh = g.events
	conf.MemberlistConfig.Keyring = g.keys
	ml := conf.MemberlistConfig
	ml.Ping = acks{cfg, &g.links}
	t, err := newTransport(cfg, ml, func() {
		ml.Delegate = beside{ml.Delegate, g.asker}
		ml.Conflict = conflicts{ml.Conflict, g.claims}
	})
	if err != nil {
		return nil, fmt.Errorf("start gossip on port %d: %w", cfg.Port, err)
	}
	ml.Transport, g.transport = t, t
	g.asker.send = g.send
	g.asker.silent.Store(true) // until serf is there to send by
	if g.serf, err = serf.Create(conf); err != nil {
		t.Shutdown()
		return nil, fmt.Errorf("start gossip on port %d: %w", cfg.Port, err)
	}
	g.asker.silent.Store(false)
	ctx, stop := context.WithCancel(context.Background())
	g.stop = stop
	g.work.Go(func() { g.run(ctx) })
	g.work.Go(func() { g.knock(ctx) })
	g.work.Go(func() { g.judge(ctx) })
	return g, nil
}

// Sent is how many bytes this node has sent to others, in packets and streams, without what the network adds to them.
func (g *Gossip) Sent() uint64 { return g.transport.sent.Load() }

// run sorts serf's events until Close.
func (g *Gossip) run(ctx context.Context) {
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
				g.changes(ctx, e)
			}
		}
	}
}

// changes takes in what serf says of members.
func (g *Gossip) changes(ctx context.Context, e serf.MemberEvent) {
	for _, m := range e.Members {
		if e.Type == serf.EventMemberFailed {
			g.accuse(ctx, m)
			continue
		}
		g.acquit(m.Name)
		if e.Type == serf.EventMemberReap {
			g.links.forget(m.Name)
		}
	}
	if e.Type != serf.EventMemberFailed { // else the trial will tell
		g.signal()
	}
}

// signal says that Members has changed.
func (g *Gossip) signal() {
	select {
	case g.changed <- struct{}{}:
	default:
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

// Members returns every member known, this node included, in order of ID. One that serf says has failed is down only
// when it has not answered this node either.
func (g *Gossip) Members() []cluster.Member {
	seen := g.serf.Members()
	members := make([]cluster.Member, 0, len(seen))
	for _, m := range seen {
		condition := cluster.Ready
		switch {
		case m.Status == serf.StatusLeft || m.Status == serf.StatusLeaving:
			condition = cluster.Left
		case m.Status == serf.StatusFailed && g.condemned(m.Name):
			condition = cluster.Down
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
	// One at a time: serf would wait at a mutex, and in a synctest bubble time stands still for who waits at one.
	g.joining <- struct{}{}
	defer func() { <-g.joining }()
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

// Leave tells the others that this node goes now, for good or for a while, so that they need not find out. It returns
// when they were told, or after about a second. To them the node has left; if it comes back, at the same or another
// address, it is ready again as soon as it has joined one of them. Only Close follows.
func (g *Gossip) Leave() error {
	g.asker.silent.Store(true)
	return g.serf.Leave()
}

// Close ends the membership without a word: to the others this node is down soon after, unless it comes back. A
// probe that is under way when it returns ends by its own timeout within a few seconds.
func (g *Gossip) Close() {
	g.once.Do(func() {
		g.asker.silent.Store(true)
		g.stop()
		g.serf.Shutdown()
		g.work.Wait()
		g.makeRoom()
	})
}

// send sends one message to one member, without a promise that it arrives.
func (g *Gossip) send(to netip.AddrPort, id string, message []byte) {
	err := g.serf.Memberlist().SendToAddress(memberlist.Address{Addr: to.String(), Name: id}, message)
	if err != nil {
		g.log.Debug("send", "to", to, "error", err)
	}
}

// acks puts the payload on acknowledgements and hands on what came with others'.
type acks struct {
	cfg   Config
	links *links
}

func (a acks) AckPayload() []byte {
	if a.cfg.Payload == nil {
		return nil
	}
	return a.cfg.Payload()
}

func (a acks) NotifyPingComplete(other *memberlist.Node, rtt time.Duration, payload []byte) {
	a.links.answered(other.Name, rtt, 0)
	if a.cfg.OnAck != nil {
		a.cfg.OnAck(other.Name, slices.Clone(payload), rtt)
	}
}
