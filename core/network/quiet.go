package network

import (
	"context"
	"log/slog"
)

// quiet takes all but the errors of a library's log two steps down: what it warns of is mostly what a peer did, and as often as
// the peer likes.
type quiet struct{ slog.Handler }

// Enabled tells whether the lowered level is shown.
func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, lowered(level))
}

// Handle passes the record on, lowered.
func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	r.Level = lowered(r.Level)
	return q.Handler.Handle(ctx, r)
}

// WithAttrs keeps the lowering.
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }

// WithGroup keeps the lowering.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }

func lowered(l slog.Level) slog.Level {
	if l >= slog.LevelError {
		return l
	}
	return l - (slog.LevelWarn - slog.LevelDebug)
}
