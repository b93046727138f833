package network

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/calimero-go/core/plugin-sdk/errkind"
)

const (
	// localPoll is how often the folder is read, localRenew how often a node's own file is written anew, localStale how
	// old a file of a node that lives can be.
	localPoll  = time.Second
	localRenew = 20 * time.Second
	localStale = time.Minute
	// Bounds of what is read there.
	maxLocalFile, maxLocalFiles = 16 << 10, 1024
	localSuffix                 = ".json"
)

// localFile is what a node writes into the folder, as <peer id>.json.
type localFile struct {
	PeerID    string   `json:"peer_id"`
	Addresses []string `json:"addresses"`
	// Network tells apart nodes that share the folder and not the network stack, such as containers.
	Network string `json:"network"`
}

// serveLocal lets the nodes of one user on one host find each other through a folder. mDNS cannot do it without an
// interface that multicasts, and many a machine in a test has only loopback.
func (n *node) serveLocal(ctx context.Context) {
	dir := n.m.opts.LocalDir
	if err := openLocal(dir); err != nil {
		n.m.log.Warn("nodes on this host are not looked for", "err", err)
		return
	}
	own := filepath.Join(dir, n.m.id.String()+localSuffix)
	defer func() {
		if err := os.Remove(own); err != nil && !errors.Is(err, fs.ErrNotExist) {
			n.m.log.Debug("local file stays", "err", err)
		}
	}()
	var written time.Time
	var text []byte
	tick := time.NewTicker(localPoll)
	defer tick.Stop()
	for {
		if now := n.localText(); !bytes.Equal(now, text) || time.Since(written) > localRenew {
			if err := writeLocal(own, now); err != nil {
				n.m.log.Warn("other nodes on this host do not find this one", "err", err)
			}
			text, written = now, time.Now()
		}
		n.readLocal(dir)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// openLocal makes the folder, or checks that it is this user's alone.
func openLocal(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of local nodes: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("look at the folder of local nodes: %w", err)
	}
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 || !ownedByUser(info) {
		return errkind.PermissionDenied.Errorf("%s must be a folder of this user with mode 0700; it is %s", dir, info.Mode())
	}
	return nil
}

func (n *node) localText() []byte {
	text, err := json.Marshal(localFile{PeerID: n.m.id.String(), Addresses: n.listenAddrs(), Network: networkStack()})
	if err != nil {
		n.m.log.Error("local file", "err", err)
	}
	return text
}

// writeLocal replaces the file at once, so that no reader sees half of it.
func writeLocal(path string, text []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func (n *node) readLocal(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		n.m.log.Warn("read the folder of local nodes", "err", err)
		return
	}
	here := hostAddresses()
	for i, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), localSuffix)
		if i >= maxLocalFiles || !ok || name == n.m.id.String() {
			continue
		}
		info, err := localPeer(filepath.Join(dir, e.Name()), name, here)
		if err != nil {
			n.m.log.Debug("local node skipped", "file", e.Name(), "err", err)
			continue
		}
		n.keeper.keep(wayLocal, info)
	}
}

// localPeer reads one file. Only addresses of this host count.
func localPeer(path, name string, here map[string]bool) (peer.AddrInfo, error) {
	var info peer.AddrInfo
	stat, err := os.Stat(path)
	switch {
	case err != nil:
		return info, err
	case !stat.Mode().IsRegular() || stat.Size() > maxLocalFile:
		return info, errkind.Invalid.Errorf("not a regular file of at most %d bytes", maxLocalFile)
	case time.Since(stat.ModTime()) > localStale:
		return info, errkind.NotFound.Errorf("its node is gone")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return info, err
	}
	var f localFile
	if err := json.Unmarshal(text, &f); err != nil {
		return info, err
	}
	if f.PeerID != name || f.Network != networkStack() {
		return info, errkind.Invalid.Errorf("it is of another node or network")
	}
	if info.ID, err = peer.Decode(f.PeerID); err != nil {
		return info, err
	}
	for _, s := range f.Addresses {
		if a, err := ma.NewMultiaddr(s); err == nil && onHost(a, here) {
			info.Addrs = append(info.Addrs, a)
		}
	}
	return info, nil
}

func onHost(a ma.Multiaddr, here map[string]bool) bool {
	ip, err := manet.ToIP(a)
	return err == nil && (ip.IsLoopback() || here[ip.String()])
}

func hostAddresses() map[string]bool {
	here := map[string]bool{}
	all, _ := net.InterfaceAddrs() // without them, loopback remains
	for _, a := range all {
		if ipNet, ok := a.(*net.IPNet); ok {
			here[ipNet.IP.String()] = true
		}
	}
	return here
}
