package storage

import (
	"context"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// NoCapabilities answers the methods that a plugin need not have. Plugins that do not announce the capabilities embed
// it; those that announce some define these methods over it.
type NoCapabilities struct{}

// Snapshot is an error of kind Unsupported.
func (NoCapabilities) Snapshot(context.Context) (Snapshot, error) { return nil, missing(CapSnapshot) }

// Stats is an error of kind Unsupported.
func (NoCapabilities) Stats(context.Context) (Stats, error) { return Stats{}, missing(CapStats) }

// Compact is an error of kind Unsupported.
func (NoCapabilities) Compact(context.Context) (before, after uint64, err error) {
	return 0, 0, missing(CapCompact)
}

func missing(capability string) error {
	return errkind.Unsupported.Errorf("this storage plugin has no capability %q", capability)
}
