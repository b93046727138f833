package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/calimero-go/core/core/config"
)

// Options is how a node is made. The zero value is a node without tokens, with the default plugins and free ports.
type Options struct {
	// Bin has the programs; empty takes CALIMERO_BIN.
	Bin string
	// Home is the node's home, kept afterwards; empty makes a temporary one.
	Home string
	// Auth checks tokens with the plugin auth-local.
	Auth bool
	// Listen are the addresses, default 127.0.0.1:0.
	Listen []string
	// Execution, Server, Top are HCL text within the blocks execution and server, and beside the blocks.
	Execution, Server, Top string
	// Network is HCL text within the block network. Empty: free ports of the loopback interface, and no discovery.
	Network string
	// Identity gives the node a config.toml, as merod init does: it is the same peer after each start. Of Network, listen,
	// bootstrap and mdns have no effect then: it listens on free ports of the loopback interface.
	Identity bool
	// Plugins is HCL text within the block of a plugin, by kind; PluginConfig that within its config block.
	Plugins, PluginConfig map[string]string
	// Config is a complete config.hcl in place of all the above, and of the pins: it is used where it lies.
	Config string
	// Env is added to the process's environment.
	Env []string
	// Wrap is a command that runs merod, such as unshare with its flags.
	Wrap []string
}

const nodeName = "node"

// QuietNetwork listens on free ports of the loopback interface and looks for nobody.
const QuietNetwork = `  listen = ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"]
  mdns = false`

// ConfigText is the config.hcl of a node in home.
func (o *Options) ConfigText(home string) string {
	listen := o.listen()
	auth := "none"
	if o.Auth {
		auth = "local"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "version = 1\n\nnode {\n  name = %q\n  home = %q\n}\n", nodeName, home)
	quoted := make([]string, len(listen))
	for i, l := range listen {
		quoted[i] = fmt.Sprintf("%q", l)
	}
	fmt.Fprintf(&b, "\nserver {\n  listen = [%s]\n  auth = %q\n%s\n}\n", strings.Join(quoted, ", "), auth, o.Server)
	if o.Execution != "" {
		fmt.Fprintf(&b, "\nexecution {\n%s\n}\n", o.Execution)
	}
	network := o.Network
	if network == "" {
		network = QuietNetwork
	}
	fmt.Fprintf(&b, "\nnetwork {\n%s\n}\n", network)
	b.WriteString(o.Top)
	b.WriteString(o.plugin("storage", "leveldb", ""))
	b.WriteString(o.plugin("runtime", "wasmer", fmt.Sprintf("  files = [%q]\n", filepath.Join(o.Bin, libwasmer()))))
	if o.Auth {
		b.WriteString(o.plugin("auth", "local", ""))
	}
	return b.String()
}

func (o *Options) plugin(kind, name, attributes string) string {
	inner := attributes + o.Plugins[kind]
	if c := o.PluginConfig[kind]; c != "" {
		inner += fmt.Sprintf("\n  config {\n%s\n  }\n", c)
	}
	return fmt.Sprintf("\nplugin %q %q {\n  path = %q\n%s\n}\n", kind, name,
		filepath.Join(o.Bin, "merod-plugin-"+kind+"-"+name), inner)
}

func libwasmer() string {
	if runtime.GOOS == "darwin" {
		return "libwasmer.dylib"
	}
	return "libwasmer.so"
}

// nodeFile writes the config.toml of a node in dir, with an identity of its own.
func (o *Options) nodeFile(dir string) error {
	id, err := config.NewIdentity()
	if err != nil {
		return err
	}
	f, err := config.NewNodeFile(filepath.Join(dir, config.NodeFileName), config.NodeFileSeed{
		Identity: id, Listen: o.listen(), Swarm: config.SwarmAddresses([]string{"127.0.0.1"}, 0), Embedded: o.Auth,
	})
	if err != nil {
		return err
	}
	return f.Write()
}

func (o *Options) listen() []string {
	if len(o.Listen) == 0 {
		return []string{"127.0.0.1:0"}
	}
	return o.Listen
}

// TempDir makes a folder with a short path: a socket's path may have some 100 bytes.
func TempDir() (string, error) {
	dir, err := os.MkdirTemp("", "mero")
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir) // processes show their resolved paths
}
