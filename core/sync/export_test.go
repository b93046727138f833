package sync

import (
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// Opens tells whether an artifact opens with a sender key.
func Opens(s *wire.StateDelta, sender domain.PrivateKey) bool {
	_, err := unseal(s, sender)
	return err == nil
}
