package dashboard

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/piswarm/piswarm/pkg/client"
)

// line says in words what happened.
type line struct {
	text string
	mood string // good, bad, or empty: neither
	at   time.Time
}

// maxLines bounds what is kept for who comes later.
const maxLines = 100

// tell keeps what an event says in words, if it does. Viewers are sent it with the next scene: a message for each event
// costs more than all else where much happens.
func (h *hub) tell(e client.Event) {
	if e.Action == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = append(h.lines, line{words(e), mood(e.Action), time.Now()})
	h.lines = h.lines[max(0, len(h.lines)-maxLines):]
	h.count++
}

// words are an event as people read it: task greeters.2 failed on pi3: exit code 1.
func words(e client.Event) string {
	text := e.Kind + " " + e.Name + " " + strings.ReplaceAll(e.Action, "_", " ")
	if e.Node != "" {
		text += " on " + e.Node
	}
	if e.Text != "" {
		text += ": " + e.Text
	}
	return shorten(text)
}

// mood is how people take what became of something.
func mood(action string) string {
	switch action {
	case "ready", "running", "complete", "completed":
		return "good"
	case "down", "failed", "rejected", "orphaned", "unhealthy", "paused", "rollback_paused":
		return "bad"
	}
	return ""
}

// since returns the lines kept that came after the first n; the hub's lock is held.
func (h *hub) since(n uint64) []line {
	fresh := int(min(h.count-n, uint64(len(h.lines))))
	return slices.Clone(h.lines[len(h.lines)-fresh:])
}

func encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil { // of strings, numbers and booleans alone
		panic(err)
	}
	return raw
}

// encodeLines writes lines for a browser. It is told how long ago they came: a Pi's clock may be of 1970.
func encodeLines(lines []line) []byte {
	type told struct {
		Text string `json:"text"`
		Mood string `json:"mood,omitempty"`
		Ago  int64  `json:"ago"` // milliseconds
	}
	out := make([]told, len(lines))
	for i, l := range lines {
		out[i] = told{l.text, l.mood, time.Since(l.at).Milliseconds()}
	}
	return encode(out)
}
