package node

import (
	"io"
	"log/slog"

	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// levelTrace is below slog's debug.
const levelTrace = slog.LevelDebug - 4

var levels = map[string]slog.Level{
	"trace": levelTrace, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn,
	"error": slog.LevelError,
}

func newLogger(c config.Log, w io.Writer) (*slog.Logger, error) {
	level, ok := levels[c.Level]
	if !ok {
		return nil, errkind.Invalid.Errorf("unknown log level %q", c.Level)
	}
	opts := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return slog.New(slog.NewTextHandler(w, opts)), nil
}
