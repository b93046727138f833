package network

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestGossipParams_AreTheReferences: the numbers of network-apps.md §1.3, whatever a new version of the library has.
func TestGossipParams_AreTheReferences(t *testing.T) {
	t.Parallel()
	p := gossipParams()
	require.Equal(t, []int{6, 5, 12, 2, 6, 4}, []int{p.D, p.Dlo, p.Dhi, p.Dout, p.Dlazy, p.Dscore})
	require.Equal(t, []int{5, 3, 5000, 10, 3, 0}, []int{p.HistoryLength, p.HistoryGossip, p.MaxIHaveLength, p.MaxIHaveMessages,
		p.GossipRetransmission, p.PrunePeers})
	require.Equal(t, []time.Duration{time.Second, time.Minute, time.Minute, 10 * time.Second, 3 * time.Second}, []time.Duration{
		p.HeartbeatInterval, p.FanoutTTL, p.PruneBackoff, p.UnsubscribeBackoff, p.IWantFollowupTime})
	require.InDelta(t, 0.25, p.GossipFactor, 0)
	require.Equal(t, 1000, p.IDontWantMessageThreshold)
	require.Equal(t, 65_536, maxRPC)
}
