package client

import (
	"encoding/binary"
	"fmt"
	"io"
)

// MaxFrame bounds the data of a frame, in bytes.
const MaxFrame = 64 << 10

// FrameKind says what a frame carries.
type FrameKind byte

// What travels between the two ends of a command, POST /v1/tasks/{task}/exec. A frame is its kind (one byte), the length
// of its data (four bytes, the most significant first) and its data. The request's body is frames from the caller, of
// which the first is a FrameSpec; the answer's body, with status 200 once the command runs, is frames from the command,
// of which the last is a FrameExit. Either side sends an empty FrameAlive now and then.
const (
	FrameSpec   FrameKind = 's' // an ExecSpec as JSON
	FrameStdin  FrameKind = 'i' // bytes for its standard input
	FrameEOF    FrameKind = 'e' // the end of them
	FrameResize FrameKind = 'r' // a Size as JSON
	FrameStdout FrameKind = 'o' // bytes of its standard output, or of its terminal
	FrameStderr FrameKind = 'x' // bytes of its standard error
	FrameExit   FrameKind = 'q' // an ExecExit as JSON
	FrameAlive  FrameKind = 'k'
)

// WriteFrame writes one frame with a single call of w.Write.
func WriteFrame(w io.Writer, kind FrameKind, data []byte) error {
	if len(data) > MaxFrame {
		return fmt.Errorf("a frame of %d bytes is too long: at most %d", len(data), MaxFrame)
	}
	frame := make([]byte, 5, 5+len(data))
	frame[0] = byte(kind)
	binary.BigEndian.PutUint32(frame[1:], uint32(len(data)))
	_, err := w.Write(append(frame, data...))
	return err
}

// FrameReader reads frames.
type FrameReader struct {
	r    io.Reader
	data []byte
}

// NewFrameReader returns a reader of the frames in r.
func NewFrameReader(r io.Reader) *FrameReader { return &FrameReader{r: r} }

// Next returns the next frame. Its data is good until the next call. Where no frame begins any more it gives io.EOF.
func (f *FrameReader) Next() (FrameKind, []byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n > MaxFrame {
		return 0, nil, fmt.Errorf("a frame of %d bytes is too long: at most %d", n, MaxFrame)
	}
	if int(n) > cap(f.data) {
		f.data = make([]byte, n)
	}
	f.data = f.data[:n]
	if _, err := io.ReadFull(f.r, f.data); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return FrameKind(head[0]), f.data, nil
}
