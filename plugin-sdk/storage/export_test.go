package storage

import (
	"time"

	"google.golang.org/grpc"

	"github.com/calimero-go/core/plugin-sdk/base"
	storagev1 "github.com/calimero-go/core/plugin-sdk/proto/storage/v1"
)

// Bounds of Apply's streams.
const (
	MaxApplies      = maxApplies
	MaxIdle         = maxIdle
	MaxApplyStreams = maxApplyStreams
)

// WireWithLease is Wire with another lease of snapshots.
func WireWithLease(lease time.Duration) base.Wire[Plugin] {
	return base.Wire[Plugin]{Kind: Kind, Versions: map[int]base.Version[Plugin]{Protocol: {
		Register: func(s grpc.ServiceRegistrar, p Plugin) *base.Server {
			storagev1.RegisterStorageServiceServer(s, newServer(p, lease))
			return base.Register(s, p)
		},
		Client: NewClient,
	}}}
}
