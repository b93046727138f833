package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/calimero-go/core/core/actor"
	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/core/network"
)

// newNetwork makes the NetworkManager; whoever serves streams or judges messages is given to it before it runs.
func (n *Node) newNetwork() (*network.Actor, error) {
	c, id := n.cfg.Network, n.cfg.Node.Identity
	if id == nil {
		var err error
		if id, err = config.NewIdentity(); err != nil {
			return nil, err
		}
		n.log.Warn("the node has no identity of its own: other nodes see a new one after each start; merod init writes one into "+
			config.NodeFileName, "peer", id.PeerID)
	}
	a, err := network.New(network.Options{
		Key: id.Peer, Listen: c.SwarmAddresses(), Advertise: c.Advertise, AdvertisePublicIP: c.AdvertisePublicIP,
		Bootstrap: c.Bootstrap, MDNS: c.MDNS, LocalDir: localFolder(c),
		Rendezvous: network.Rendezvous{
			Namespace: c.Rendezvous.Namespace, Interval: c.Rendezvous.Interval, Throttle: c.Rendezvous.Throttle,
			Registrations: c.Rendezvous.Registrations,
		},
		RelayReservations: c.Relays, AutoNAT: c.AutoNAT, InviteTopic: c.InviteTopic,
		MaxPeers: c.MaxPeers, MaxMemory: c.MaxMemory, Agent: "calimero-go/" + n.opts.Version,
		Registerer: n.reg, Logger: n.log,
	})
	if err != nil {
		return nil, fmt.Errorf("set up the network: %w", err)
	}
	n.network = a.Client()
	return a, nil
}

// localFolder is where the nodes of this user on this host tell each other their addresses; "" = nowhere.
func localFolder(c config.Network) string {
	switch {
	case c.LocalDiscovery == config.LocalAuto && c.MDNS:
		return filepath.Join(os.TempDir(), "calimero-"+strconv.Itoa(os.Getuid()))
	case c.LocalDiscovery == config.LocalAuto, c.LocalDiscovery == config.LocalOff:
		return ""
	}
	return c.LocalDiscovery
}

// startNetwork runs the NetworkManager and returns when it listens; the function returned stops it and waits.
func (n *Node) startNetwork(ctx context.Context, swarm *network.Actor) (stop func(), err error) {
	tree := actor.NewSupervisor("network", n.log, stopTime)
	tree.Add(swarm)
	serving, cancel := context.WithCancel(context.Background())
	done := tree.ServeBackground(serving)
	stop = func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			n.log.Warn("network stopped", "err", err)
		}
	}
	if err := n.network.Started(ctx); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}
