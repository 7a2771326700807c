package lab

import (
	"bytes"
	"context"
	"testing"
	"time"
)

func TestRecord(t *testing.T) {
	l := startLab(t, 1)
	wire, err := l.Record()
	if err != nil {
		t.Fatal(err)
	}
	defer wire.Close()
	c, err := l.Dial(context.Background(), LaptopName, "udp", "pi1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("said in clear text")); err != nil {
		t.Fatal(err)
	}
	if err := wire.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, 64<<10)
	for {
		n, err := wire.Read(frame)
		if err != nil {
			t.Fatalf("not heard: %v", err)
		}
		if bytes.Contains(frame[:n], []byte("said in clear text")) {
			return
		}
	}
}
