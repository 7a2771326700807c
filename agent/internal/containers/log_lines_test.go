package containers_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/piswarm/piswarm/agent/internal/containers"
)

// lines reads all that there is.
func (n *node) lines(q containers.LinesQuery) (texts []string, all []containers.Line) {
	n.t.Helper()
	err := n.Lines(n.ctx, "t1", q, func(l containers.Line) error {
		texts, all = append(texts, l.Text), append(all, l)
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return texts, all
}

func TestLines(t *testing.T) {
	n := newNode(t)
	// Of one stream: the order between stdout and stderr is the shim's to choose, which copies each on its own.
	n.run(spec("t1", n.load("program", ""), "print", "one\ntwo\n\nfour\n"+strings.Repeat("ä", 20000)))
	n.output("t1")
	texts, all := n.lines(containers.LinesQuery{Tail: -1})
	if len(texts) != 7 || strings.Join(texts[:4], "|") != "one|two||four" {
		t.Fatalf("%d lines: %.40q", len(texts), texts)
	}
	if strings.Join(texts[4:], "") != strings.Repeat("ä", 20000) || !all[4].Partial || !all[5].Partial || all[6].Partial {
		t.Errorf("a long line is torn: %d, %d, %d bytes", len(texts[4]), len(texts[5]), len(texts[6]))
	}
	for tail, want := range map[int]string{0: "", 1: texts[6], 2: "four"} {
		got, _ := n.lines(containers.LinesQuery{Tail: tail})
		if tail == 0 && len(got) != 0 || tail == 2 && got[0] != want {
			t.Errorf("tail %d: %.60q", tail, got)
		}
	}
	if got, _ := n.lines(containers.LinesQuery{Tail: 1, After: all[1].At}); len(got) != 5 || got[1] != "four" {
		t.Errorf("after the second: %.60q", got)
	}
	if got, _ := n.lines(containers.LinesQuery{Tail: -1, After: "1:99999"}); len(got) != 7 {
		t.Errorf("after a place in another log: %d lines", len(got))
	}
	if got, _ := n.lines(containers.LinesQuery{Tail: -1, Since: time.Now().Add(time.Hour)}); len(got) != 0 {
		t.Errorf("since the future: %.60q", got)
	}
}

// TestLinesAreFollowed with their times, until the container is removed.
func TestLinesAreFollowed(t *testing.T) {
	n := newNode(t)
	ctx, cancel := context.WithCancel(n.ctx)
	trimmed := make(chan error, 1)
	go func() { trimmed <- n.TrimLogs(ctx) }()
	begun := time.Now()
	n.run(spec("t1", n.load("program", ""), "tick"))
	got := make(chan containers.Line)
	ended := make(chan error, 1)
	go func() {
		ended <- n.Lines(ctx, "t1", containers.LinesQuery{Tail: -1, Follow: true}, func(l containers.Line) error {
			select {
			case got <- l:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	for i := range 60 {
		select {
		case l := <-got:
			if age := time.Since(l.Time); l.Text[:5] != "tick " || age > 5*time.Second || l.Time.Before(begun.Add(-time.Second)) {
				t.Fatalf("line %d: %+v, %s ago", i, l, age)
			}
		case <-time.After(patience):
			t.Fatalf("line %d does not come", i)
		}
	}
	go func() {
		for range got {
		}
	}()
	if err := n.Remove(n.ctx, "t1"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the output of a removed container is followed for ever")
	}
	if err := n.Lines(ctx, "t1", containers.LinesQuery{}, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	cancel()
	if err := <-trimmed; err != nil {
		t.Error(err)
	}
	close(got)
}
