package runtime

import (
	"strconv"

	"google.golang.org/grpc/metadata"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// protocolKey is the metadata by which both ends of a lane name their version of the protocol, for error texts.
const protocolKey = "calimero-runtime-protocol"

func ownProtocol() metadata.MD { return metadata.Pairs(protocolKey, strconv.Itoa(Protocol)) }

func protocolOf(md metadata.MD) string {
	if v := md.Get(protocolKey); len(v) == 1 && len(v[0]) <= 16 {
		return v[0]
	}
	return "unknown"
}

// breach is the error for a frame that breaks the protocol; a member this build does not know names both versions.
func breach(peer, peerVersion string, err error) error {
	if k := errkind.Of(err); k == errkind.Unsupported {
		return k.Errorf("%s speaks runtime protocol %s, this process speaks %d: %w; update the older one", peer, peerVersion,
			Protocol, err)
	}
	return errkind.Internal.Errorf("%s broke the runtime protocol: %w", peer, err)
}
