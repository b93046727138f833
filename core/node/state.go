package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/core/pluginhost"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/storage"
)

// ReadStore starts the storage plugin alone and lets read look at the node's database. The node must not run: it holds
// the database, and the error, of kind Precondition, says so. log gets the plugin's warnings and errors.
func ReadStore(ctx context.Context, cfg *config.Config, log io.Writer, read func(context.Context, *store.DB) error) (err error) {
	p := cfg.Plugin(storage.Kind, "")
	if p == nil {
		return errkind.Invalid.Errorf("%s has no plugin %q block", cfg.Path, storage.Kind)
	}
	opts := pluginhost.FromConfig(cfg)
	opts.LogLevel = "warn"
	if opts.Logger, err = newLogger(config.Log{Level: opts.LogLevel, Format: cfg.Log.Format}, log); err != nil {
		return err
	}
	host, err := pluginhost.Open(ctx, opts)
	if errors.Is(err, errkind.Precondition) {
		return errkind.Precondition.Errorf("read the node's store: %w; a running node holds its store", err)
	}
	if err != nil {
		return fmt.Errorf("read the node's store: %w", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		err = errors.Join(err, host.Close(ctx))
	}()
	handle, err := pluginhost.Start(ctx, host, storage.Wire, pluginhost.SpecOf(cfg, p))
	if err != nil {
		return err
	}
	return read(ctx, store.Open(pluginhost.Storage(handle), store.Options{CacheBytes: -1}))
}
