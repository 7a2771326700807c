package e2e

import (
	"cmp"
	bits "encoding/binary" // the tests have a binary of their own
	"errors"
	"os"
	"slices"
	"time"
)

// recording is what somebody with a machine between the cables has of the gossip.
type recording struct {
	Packets [][]byte // contents of UDP packets
	Streams [][]byte // what one side of a TCP connection said first
}

const (
	gossipPort = 7946
	// Of a long recording the beginning is kept.
	maxPackets = 20_000
	maxStreams = 500
	maxSaid    = 64 << 10
)

// tape records the whole LAN until it ends.
type tape struct {
	wire   *os.File
	done   chan struct{}
	frames [][]byte
}

// record begins to listen to the LAN.
func (s *shelf) record() *tape {
	s.t.Helper()
	wire, err := s.lab.Record()
	if err != nil {
		s.t.Fatal(err)
	}
	t := &tape{wire: wire, done: make(chan struct{})}
	s.t.Cleanup(func() { wire.Close() })
	go func() {
		defer close(t.done)
		for buf, size := make([]byte, 256<<10), 0; size < 256<<20; { // more than any of these tests has on the wire
			n, err := wire.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, os.ErrClosed) {
				return
			}
			if err != nil {
				panic(err) // the LAN is gone: the test is wrong
			}
			t.frames, size = append(t.frames, slices.Clone(buf[:n])), size+n
		}
	}()
	return t
}

// stop returns all frames.
func (t *tape) stop() [][]byte {
	t.wire.SetReadDeadline(time.Now())
	<-t.done
	t.wire.Close()
	return t.frames
}

// end returns what the frames carried of the gossip.
func (t *tape) end() (said recording) {
	streams := map[string]map[uint32][]byte{}
	var order []string
	for _, f := range t.stop() {
		h, ok := parseFrame(f)
		switch {
		case !ok || len(h.body) == 0 || h.to != gossipPort && h.from != gossipPort:
		case h.udp && len(said.Packets) < maxPackets:
			said.Packets = append(said.Packets, h.body)
		case !h.udp && h.to == gossipPort:
			if streams[h.flow] == nil {
				streams[h.flow] = map[uint32][]byte{}
				order = append(order, h.flow)
			}
			streams[h.flow][h.seq] = h.body
		}
	}
	for _, flow := range order[:min(len(order), maxStreams)] {
		if text := inOrder(streams[flow]); len(text) <= maxSaid {
			said.Streams = append(said.Streams, text)
		}
	}
	return said
}

// inOrder puts the segments of one direction of a TCP connection together.
func inOrder(segments map[uint32][]byte) (text []byte) {
	var at []uint32
	for seq := range segments {
		at = append(at, seq)
	}
	slices.SortFunc(at, func(a, b uint32) int { return cmp.Compare(int32(a-at[0]), int32(b-at[0])) })
	for _, seq := range at {
		text = append(text, segments[seq]...)
	}
	return text
}

// heard is a frame of IPv4 with TCP or UDP.
type heard struct {
	udp      bool
	from, to uint16 // ports
	flow     string
	seq      uint32
	body     []byte
}

func parseFrame(f []byte) (h heard, ok bool) {
	if len(f) < 14+20 || bits.BigEndian.Uint16(f[12:]) != 0x0800 {
		return h, false
	}
	ip := f[14:]
	head, total := int(ip[0]&15)*4, int(bits.BigEndian.Uint16(ip[2:]))
	if total > len(ip) || total < head+8 || head < 20 {
		return h, false
	}
	part := ip[head:total]
	h.from, h.to = bits.BigEndian.Uint16(part), bits.BigEndian.Uint16(part[2:])
	h.flow = string(ip[12:20]) + string(part[:4])
	switch ip[9] {
	case 17:
		h.udp, h.body = true, part[8:]
	case 6:
		if len(part) < 20 || int(part[12]>>4)*4 > len(part) {
			return h, false
		}
		h.seq, h.body = bits.BigEndian.Uint32(part[4:]), part[int(part[12]>>4)*4:]
	default:
		return h, false
	}
	return h, true
}
