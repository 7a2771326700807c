package gossip

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// levelHandler gives each line of serf's and memberlist's log the level it names: "[WARN] serf: …".
type levelHandler struct {
	slog.Handler
	strangers *seldom
}

func newLevelHandler(h slog.Handler) levelHandler { return levelHandler{h, new(seldom)} }

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
	// Two addresses with one ID come with every push/pull; OnConflict tells of those that mean something.
	if strings.Contains(text, "Conflicting address") || strings.Contains(text, "name conflicts") {
		level = slog.LevelDebug
	}
	if !h.Handler.Enabled(ctx, level) {
		return nil
	}
	// Whoever sends us junk writes a line of the log with each packet, and the log may be on the SD card.
	if level >= slog.LevelWarn && strings.Contains(text, " from=") {
		more, due := h.strangers.due(r.Time)
		if !due {
			return nil
		}
		if more > 0 {
			text = fmt.Sprintf("%s (and %d more like this since the last one was told)", strings.TrimSpace(text), more)
		}
	}
	out := slog.NewRecord(r.Time, level, strings.TrimSpace(text), r.PC)
	return h.Handler.Handle(ctx, out)
}

// strangersEvery is how often it is told that something came which nobody who knows the secret sends.
const strangersEvery = 10 * time.Minute

// seldom lets one of many through.
type seldom struct {
	mu     sync.Mutex
	last   time.Time
	missed int
}

// due tells whether one is to be let through, and how many before it were not.
func (s *seldom) due(now time.Time) (missed int, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.last.IsZero() && now.Sub(s.last) < strangersEvery {
		s.missed++
		return 0, false
	}
	missed, s.missed, s.last = s.missed, 0, now
	return missed, true
}
