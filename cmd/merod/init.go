package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/calimero-go/core/core/node"
)

// initCommand takes the reference's flags.
type initCommand struct {
	BootNodes   []string `help:"Multiaddrs of peers to start from." name:"boot-nodes" sep:"none" placeholder:"ADDR"`
	SwarmHost   []string `help:"Addresses of the peer-to-peer network." default:"0.0.0.0,::"`
	SwarmPort   uint16   `help:"Port of the peer-to-peer network." default:"2428"`
	ServerHost  []string `help:"Addresses of the HTTP server." default:"127.0.0.1,::1"`
	ServerPort  uint16   `help:"Port of the HTTP server." default:"2528"`
	AuthMode    string   `help:"proxy: no tokens, loopback only; embedded: the auth plugin local." enum:"proxy,embedded" default:"proxy"`
	MDNS        bool     `help:"Find peers in the local network." default:"true" negatable:""`
	Advertise   bool     `name:"advertise-address" help:"Ask a service for the public address and tell peers."`
	Force       bool     `help:"Delete an existing node first, with all its data."`
	Mode        string   `help:"standard or read-only." enum:"standard,read-only" default:"standard"`
	PluginDir   string   `help:"Folder of the plugins' binaries; default: that of merod." placeholder:"PATH"`
	BootNetwork string   `help:"Kept for scripts; this node has no public network." enum:",calimero-dev,ipfs" default:"" hidden:""`
}

func (i *initCommand) Run(c *cli) error {
	if c.Config != "" {
		return fmt.Errorf("init makes its own configuration: give --home and --node instead of --config")
	}
	dir := i.PluginDir
	if dir == "" {
		exe, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find the plugins beside merod: %w; give --plugin-dir", err)
		}
		dir = filepath.Dir(exe)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	r, err := node.Init(node.InitOptions{
		Home: c.Home, Name: c.Node, ServerHosts: i.ServerHost, ServerPort: i.ServerPort, SwarmHosts: i.SwarmHost,
		SwarmPort: i.SwarmPort, BootNodes: i.BootNodes, Embedded: i.AuthMode == "embedded",
		ReadOnly: i.Mode == "read-only", MDNS: i.MDNS, AdvertiseAddress: i.Advertise, Force: i.Force, PluginDir: dir,
	})
	if err != nil {
		return err
	}
	if r.Existed {
		fmt.Printf("Node is already initialized in %q\n", r.Dir)
		return nil
	}
	if r.Kept {
		fmt.Printf("Kept config.toml with its identity: PeerId(%q)\n", r.PeerID)
	} else {
		fmt.Printf("Generated identity: PeerId(%q)\nGenerated group identity: ed25519:%s\n", r.PeerID, r.GroupKey)
	}
	if r.BootstrapCode != "" {
		fmt.Printf("One-time code for the first account, if it is not created from this machine: %s\n", r.BootstrapCode)
	} else {
		fmt.Println("warning: nobody needs a token (auth mode proxy): the server listens on loopback only, unless " +
			"server.behind_proxy is set; use --auth-mode embedded for accounts and tokens")
	}
	fmt.Printf("Initialized a node in %q\n", r.Dir)
	return nil
}
