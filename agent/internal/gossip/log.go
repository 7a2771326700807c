package gossip

import (
	"context"
	"log/slog"
	"strings"
)

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
	// Two addresses with one ID come with every push/pull; OnConflict tells of those that mean something.
	if strings.Contains(text, "Conflicting address") || strings.Contains(text, "name conflicts") {
		level = slog.LevelDebug
	}
	if !h.Handler.Enabled(ctx, level) {
		return nil
	}
	out := slog.NewRecord(r.Time, level, strings.TrimSpace(text), r.PC)
	return h.Handler.Handle(ctx, out)
}
