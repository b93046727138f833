package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/sync/errgroup"

	"github.com/calimero-go/core/core/api"
	"github.com/calimero-go/core/core/api/authroutes"
	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/core/pluginhost"
	"github.com/calimero-go/core/plugin-sdk/domain"
)

// AddressFile, in the node's run folder, tells scripts where the node listens; it is there while the node serves.
const AddressFile = "addresses.json"

// serve opens the listeners, calls started, and serves until ctx ends.
func (n *Node) serve(ctx context.Context, started func()) error {
	guard, err := n.newGuard()
	if err != nil {
		return err
	}
	server, err := n.newServer(guard)
	if err != nil {
		return err
	}
	listeners, err := api.Listen(ctx, n.cfg.Server.Listen, n.log)
	if err != nil {
		return err
	}
	remove, err := n.writeAddresses(listeners)
	if err != nil {
		for _, l := range listeners {
			_ = l.Close()
		}
		return err
	}
	defer remove()

	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Serve(gctx, listeners...) })
	group.Go(func() error {
		if err := guard.Run(gctx); err != nil && gctx.Err() == nil {
			return fmt.Errorf("watch the auth plugin: %w", err)
		}
		return nil
	})
	started()
	return group.Wait()
}

func (n *Node) newGuard() (*authroutes.Service, error) {
	o := authroutes.Options{
		Log: n.log, PathPrefix: pathPrefix(), Version: n.opts.Version, BehindProxy: n.cfg.Server.BehindProxy,
		MaxBody: int64(n.cfg.Server.MaxBody),
	}
	if n.auth != nil {
		o.Auth = pluginhost.Auth(n.auth)
	}
	return authroutes.New(o)
}

func (n *Node) newServer(guard *authroutes.Service) (*api.Server, error) {
	c := n.cfg.Server
	deps := api.Deps{
		Contexts: replica{n.contexts, n.manager}, Apps: n.apps, Blobs: n.blobs, Identity: n.identity, Registerer: n.reg,
		Peers: replica{n.contexts, n.manager}, Groups: n.manager.flows, Upgrades: n.manager.upgrades,
		Ready: func(context.Context) error { return n.ready() }, Sessions: api.StoredSessions(n.db),
		Guard: guard.Guard, Logger: n.log,
		MaySubscribe: func(ctx context.Context, id domain.ContextID) bool {
			return n.auth == nil || authroutes.CanSubscribe(ctx, id.String())
		},
	}
	if n.cfg.Metrics.Enabled {
		deps.Gatherer = n.reg
	}
	if n.auth != nil {
		mux := http.NewServeMux()
		guard.Routes(mux)
		deps.AuthRoutes = mux
	}
	return api.New(deps, api.Options{
		Prefix: pathPrefix(), Admin: c.Admin, JSONRPC: c.JSONRPC && !n.cfg.Node.ReadOnly, WebSocket: c.WebSocket, SSE: c.SSE,
		MaxBody: c.MaxBody, MaxUpload: c.MaxUpload, ReadHeaderTimeout: c.ReadHeaderTimeout, IdleTimeout: c.IdleTimeout,
		ShutdownTimeout: c.ShutdownTimeout, PingInterval: c.WebSocketPing, PongTimeout: c.WebSocketPong,
		CORSOrigins: c.CORSOrigins,
	})
}

// pathPrefix is put before most routes, for a reverse proxy that serves several nodes.
func pathPrefix() string { return os.Getenv("NODE_PATH_PREFIX") }

// addresses is the content of AddressFile: URLs, multiaddrs, and the node's id in the network.
type addresses struct {
	Server []string `json:"server"`
	Swarm  []string `json:"swarm"`
	PeerID string   `json:"peer_id"`
}

// writeAddresses logs where the node listens and writes it to AddressFile, which the function returned removes.
func (n *Node) writeAddresses(listeners []net.Listener) (remove func(), err error) {
	var urls []string
	for _, l := range listeners {
		url := "http://" + l.Addr().String()
		urls = append(urls, url)
		n.log.Info("listening", "url", url+pathPrefix())
	}
	text, err := json.Marshal(addresses{
		Server: urls, Swarm: n.network.ListenAddrs(), PeerID: n.network.LocalPeerID().String(),
	})
	if err != nil {
		return nil, err
	}
	path := filepath.Join(n.cfg.NodeDir(), "run", AddressFile)
	if err := config.WriteFile(path, append(text, '\n'), 0o600); err != nil {
		return nil, err
	}
	return func() {
		if err := os.Remove(path); err != nil {
			n.log.Warn("address file stays", "path", path, "err", err)
		}
	}, nil
}
