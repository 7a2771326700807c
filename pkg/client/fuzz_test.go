package client

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"
)

// FuzzEvents is a stream as an agent of another release might send it: it ends with an error, and never hangs.
func FuzzEvents(f *testing.F) {
	f.Add([]byte(": listening\n\ndata: {\"kind\":\"service\"}\n\n: still here\n\ndata: {\"kind\":\"members\"}\n\n"))
	f.Add([]byte("data: {\"kind\":\ndata: \"plan\"}\n\n"))
	f.Add([]byte("data: x\n\n"))
	f.Add([]byte(strings.Repeat("data: [\n", 1000) + "\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		ctx, silence, stop := limitSilence(context.Background(), time.Minute)
		e := &Events{ctx: ctx, silence: silence, stop: stop, body: io.NopCloser(nil), in: lines(bytes.NewReader(stream))}
		defer stop()
		for n := 0; ; n++ {
			if _, err := e.Next(); err != nil {
				if strings.ContainsAny(err.Error(), "\r\n") {
					t.Errorf("an error of more than a line: %q", err)
				}
				return
			}
			if n > len(stream) {
				t.Fatal("more events than bytes")
			}
		}
	})
}

// FuzzAnswers reads the agent's answers: what is understood is written as what it was understood as.
func FuzzAnswers(f *testing.F) {
	for _, v := range []any{Status{Cluster: "home", Nodes: []NodeStatus{{ID: "a"}}}, []Task{{ID: "t"}}, Service{}, Written{Holders: 3}, Progress{Message: "m"}, Problem{Error: "e"}} {
		raw, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		roundTrip[Status](t, raw)
		roundTrip[[]Task](t, raw)
		roundTrip[Service](t, raw)
		roundTrip[Progress](t, raw)
		roundTrip[[]Image](t, raw)
	})
}

func roundTrip[T any](t *testing.T, raw []byte) {
	var v, again T
	if json.Unmarshal(raw, &v) != nil {
		return
	}
	first, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	if err := json.Unmarshal(first, &again); err != nil {
		t.Fatalf("%s: %v", first, err)
	}
	if second, err := json.Marshal(again); err != nil || !bytes.Equal(first, second) {
		t.Fatalf("%s\nis written as\n%s, %v", first, second, err)
	}
}
