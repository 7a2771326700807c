package gossip

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"github.com/piswarm/piswarm/agent/internal/gate"
)

// forever is as long as a duration can be: a member that failed is kept until somebody forgets it.
const forever = time.Duration(math.MaxInt64)

// membership is how serf is set up for a shelf of Pis. The package comment explains the times.
func membership(cfg Config) *serf.Config {
	ml := memberlist.DefaultLANConfig()
	ml.Name = cfg.ID
	ml.BindAddr = "0.0.0.0"
	ml.BindPort = cfg.Port
	ml.AdvertiseAddr = cfg.Address.String()
	ml.AdvertisePort = cfg.Port
	ml.ProbeInterval = 400 * time.Millisecond
	ml.ProbeTimeout = 250 * time.Millisecond
	ml.SuspicionMult = 1
	ml.SuspicionMaxTimeoutMult = 1
	ml.GossipInterval = 100 * time.Millisecond
	ml.GossipToTheDeadTime = 30 * time.Second
	// Everything about all members and the last events, to one of them: by far the most that an idle node sends.
	ml.PushPullInterval = time.Minute
	ml.TCPTimeout = 4 * time.Second // a first SYN and two more
	// A node that comes back with another address takes its name as soon as the old address is dead.
	ml.DeadNodeReclaimTime = time.Millisecond
	// Packets are small, and what is large in them is deflated already: memberlist's own compression allocates an
	// encoder for each packet, which was a third of an idle agent's processor time.
	ml.EnableCompression = false
	ml.LogOutput = nil
	ml.Logger = slog.NewLogLogger(newLevelHandler(cfg.Log.Handler()), slog.LevelInfo)

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
	// serf sends the last events along with every push/pull, for ever. With its 512 of them, and a push/pull every 30 s,
	// five idle nodes with 400 new services sent 9 KB a second each; now it is 1.3. These many are enough to know an
	// event again while it goes round.
	conf.EventBuffer = 32
	conf.ReconnectTimeout = forever
	// A member that is leaving waits at most for two broadcasts and this delay, about a second in all.
	conf.BroadcastTimeout = 500 * time.Millisecond
	conf.LeavePropagateDelay = 100 * time.Millisecond
	return conf
}

// transport is what memberlist sends and receives by: this machine's sockets, or what Config brings.
type transport struct {
	memberlist.Transport
	// ready is called when serf has put its own delegates into memberlist's configuration, and memberlist has started
	// no goroutine yet. memberlist offers no other moment to put something beside them.
	ready  func()
	closed context.Context
	close  context.CancelFunc

	sent    atomic.Uint64 // bytes
	gate    *gate.Gate
	streams chan net.Conn // those that the gate has let in
	down    chan struct{} // closed when no more come
	work    sync.WaitGroup
}

// strangers are the limits of the gossip's streams, all of which are strangers' until their one message is decrypted,
// and gone a moment later. memberlist gives each TCPTimeout in all.
var strangers = gate.Limits{Strangers: 24, PerAddress: 4}

// maxStream is how much is read from a stream: a message is decrypted when it is there as a whole, so this much a
// stranger can make us keep, for each stream. A push/pull has about 150 bytes for a member and some 40 KB of events.
const maxStream = 128 << 10

func newTransport(cfg Config, ml *memberlist.Config, ready func()) (*transport, error) {
	t := &transport{
		Transport: cfg.Transport, ready: ready, gate: gate.New(strangers), streams: make(chan net.Conn), down: make(chan struct{}),
	}
	if t.Transport == nil {
		sockets, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{
			BindAddrs: []string{ml.BindAddr}, BindPort: ml.BindPort, Logger: ml.Logger,
		})
		if err != nil {
			return nil, err
		}
		t.Transport = sockets
	}
	t.closed, t.close = context.WithCancel(context.Background())
	t.work.Go(t.admit)
	return t, nil
}

// admit hands on the streams that the gate lets in, until the transport is down.
func (t *transport) admit() {
	for {
		select {
		case <-t.down:
			return
		case c := <-t.Transport.StreamCh():
			admitted, err := t.gate.Admit(c)
			if err != nil {
				c.Close()
				continue
			}
			select {
			case t.streams <- &bounded{admitted, maxStream, &t.sent}:
			case <-t.down:
				admitted.Close()
				return
			}
		}
	}
}

func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	t.sent.Add(uint64(len(b)))
	return t.Transport.WriteTo(b, addr)
}

func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

func (t *transport) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	if t.ready != nil {
		t.ready()
		t.ready = nil
	}
	return t.Transport.FinalAdvertiseAddr(ip, port)
}

// DialTimeout makes a connection that ends with the transport: no push/pull outlives it.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	c, err := t.dial(addr, timeout)
	if err != nil {
		return nil, err
	}
	return &conn{&bounded{c, maxStream, &t.sent}, context.AfterFunc(t.closed, func() { c.Close() })}, nil
}

func (t *transport) dial(addr string, timeout time.Duration) (net.Conn, error) {
	if _, real := t.Transport.(*memberlist.NetTransport); !real {
		return t.Transport.DialTimeout(addr, timeout)
	}
	ctx, cancel := context.WithTimeout(t.closed, timeout)
	defer cancel()
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

func (t *transport) Shutdown() error {
	t.close()
	err := t.Transport.Shutdown() // what it has accepted meanwhile it still hands over
	close(t.down)
	t.work.Wait()
	return err
}

// bounded is a connection from which no more than so many bytes can be read.
type bounded struct {
	net.Conn
	left int
	sent *atomic.Uint64 // bytes, of all of them
}

func (b *bounded) Write(p []byte) (int, error) {
	n, err := b.Conn.Write(p)
	b.sent.Add(uint64(n))
	return n, err
}

var errLong = errors.New("the message is too long")

func (b *bounded) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errLong
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// conn takes back, when it is closed, what closes it with the transport.
type conn struct {
	net.Conn
	release func() bool
}

func (c *conn) Close() error {
	c.release()
	return c.Conn.Close()
}
