package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"github.com/calimero-go/core/core/config"
)

// nodesFile is nodes.toml in the user's configuration folder (http-api.md §8.3); it has tokens and is readable by the
// user alone.
type nodesFile struct {
	Active string            `toml:"active_node,omitempty"`
	Nodes  map[string]*entry `toml:"nodes"`

	path string
}

// entry is a node: a URL, or the home folder of a local one.
type entry struct {
	URL    string  `toml:"url,omitempty"`
	Path   string  `toml:"path,omitempty"`
	Tokens *tokens `toml:"jwt_tokens,omitempty"`
}

type tokens struct {
	Access  string `toml:"access_token" json:"access_token"`
	Refresh string `toml:"refresh_token" json:"refresh_token"`
}

func readNodes() (*nodesFile, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return nil, fmt.Errorf("find the folder for nodes.toml: %w", err)
	}
	f := &nodesFile{path: filepath.Join(dir, "calimero", "meroctl", "nodes.toml"), Nodes: map[string]*entry{}}
	text, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	if err := toml.Unmarshal(text, f); err != nil {
		return nil, fmt.Errorf("read %s: %w; correct or delete it", f.path, err)
	}
	for name, e := range f.Nodes {
		if e == nil {
			delete(f.Nodes, name)
		}
	}
	if f.Nodes == nil {
		f.Nodes = map[string]*entry{}
	}
	return f, nil
}

func (f *nodesFile) write() error {
	text, err := toml.Marshal(f)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return err
	}
	return config.WriteFile(f.path, text, 0o600)
}

// defaultURL is where a node listens that was not told otherwise.
const defaultURL = "http://127.0.0.1:2528"

// target is the node a command works on.
type target struct {
	name  string // in nodes.toml
	entry *entry
	url   string
}

// find resolves --api, --node, the node in use, the default port, in this order.
func (c *cli) find() (*target, error) {
	f, err := readNodes()
	if err != nil {
		return nil, err
	}
	t := &target{name: c.Node}
	if c.API == "" && c.Node == "" {
		t.name = f.Active
	}
	switch {
	case c.API != "":
		t.name = strings.TrimRight(c.API, "/")
		t.entry = f.Nodes[t.name]
		if t.entry == nil {
			t.entry = &entry{URL: t.name}
		}
	case t.name == "":
		t.name, t.entry = defaultURL, &entry{URL: defaultURL}
		if e := f.Nodes[defaultURL]; e != nil {
			t.entry = e
		}
	case f.Nodes[t.name] != nil:
		t.entry = f.Nodes[t.name]
	default:
		home, err := c.home()
		if err != nil {
			return nil, err
		}
		t.entry = &entry{Path: home}
	}
	t.url, err = t.entry.address(t.name)
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (c *cli) home() (string, error) {
	if c.Home != "" {
		return filepath.Abs(c.Home)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the home of local nodes: %w; give --home", err)
	}
	return filepath.Join(home, ".calimero"), nil
}

// address is the URL of a node: as it says, or what a local one that runs has written.
func (e *entry) address(name string) (string, error) {
	if e.URL != "" {
		u, err := url.Parse(e.URL)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return "", fmt.Errorf("%q is no URL of a node; write http://HOST:PORT", e.URL)
		}
		return strings.TrimRight(e.URL, "/"), nil
	}
	path := filepath.Join(e.Path, name, "run", "addresses.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("no node %q runs in %s, and none of this name is registered: start it with merod --home %s --node %s run, "+
			"or name another with --node or --api", name, e.Path, e.Path, name)
	}
	if err != nil {
		return "", err
	}
	var addresses struct {
		Server []string `json:"server"`
	}
	if err := json.Unmarshal(text, &addresses); err != nil || len(addresses.Server) == 0 {
		return "", fmt.Errorf("%s names no address of the node", path)
	}
	return addresses.Server[0], nil
}

// keep stores the tokens of the node, and what other commands stored meanwhile stays.
func (t *target) keep(k *tokens) error {
	f, err := readNodes()
	if err != nil {
		return err
	}
	t.entry.Tokens = k
	f.Nodes[t.name] = t.entry
	return f.write()
}

type nodeCommand struct {
	Add    nodeAdd    `cmd:"" aliases:"connect" help:"Name a node: its URL, or the home folder of a local one."`
	Remove nodeRemove `cmd:"" aliases:"rm,disconnect" help:"Forget a node and its tokens."`
	Use    nodeUse    `cmd:"" help:"Use a node when no other is named."`
	List   nodeList   `cmd:"" aliases:"ls" help:"List the nodes."`

	Identity nodeIdentity `cmd:"" aliases:"id" help:"Show the key by which a local node signs for groups."`
}

type nodeAdd struct {
	Name         string `arg:""`
	Location     string `arg:"" help:"URL or folder."`
	AccessToken  string
	RefreshToken string
}

func (a *nodeAdd) Run(c *cli) error {
	f, err := readNodes()
	if err != nil {
		return err
	}
	e := &entry{URL: strings.TrimRight(a.Location, "/")}
	if !strings.Contains(a.Location, "://") {
		if e.Path, err = filepath.Abs(a.Location); err != nil {
			return err
		}
		e.URL = ""
	} else if _, err := e.address(a.Name); err != nil {
		return err
	}
	if a.AccessToken != "" {
		e.Tokens = &tokens{Access: a.AccessToken, Refresh: a.RefreshToken}
	}
	f.Nodes[a.Name] = e
	if err := f.write(); err != nil {
		return err
	}
	return c.say("added node %s", a.Name)
}

type nodeRemove struct {
	Name string `arg:""`
}

func (r *nodeRemove) Run(c *cli) error {
	f, err := readNodes()
	if err != nil {
		return err
	}
	if f.Nodes[r.Name] == nil {
		return fmt.Errorf("no node %q is registered; meroctl node list shows those that are", r.Name)
	}
	delete(f.Nodes, r.Name)
	if f.Active == r.Name {
		f.Active = ""
	}
	if err := f.write(); err != nil {
		return err
	}
	return c.say("removed node %s", r.Name)
}

type nodeUse struct {
	Name string `arg:""`
}

func (u *nodeUse) Run(c *cli) error {
	f, err := readNodes()
	if err != nil {
		return err
	}
	if f.Nodes[u.Name] == nil {
		return fmt.Errorf("no node %q is registered; add it with meroctl node add", u.Name)
	}
	f.Active = u.Name
	if err := f.write(); err != nil {
		return err
	}
	return c.say("using node %s", u.Name)
}

type nodeList struct{}

func (nodeList) Run(c *cli) error {
	f, err := readNodes()
	if err != nil {
		return err
	}
	type row struct {
		Name     string `json:"name"`
		Location string `json:"location"`
		Active   bool   `json:"active"`
		LoggedIn bool   `json:"logged_in"`
	}
	rows := []row{}
	for name, e := range f.Nodes {
		rows = append(rows, row{Name: name, Location: e.URL + e.Path, Active: name == f.Active, LoggedIn: e.Tokens != nil})
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.Name, b.Name) })
	if c.Output == "json" {
		return c.json(rows)
	}
	var cells [][]string
	for _, r := range rows {
		cells = append(cells, []string{r.Name, r.Location, yes(r.Active), yes(r.LoggedIn)})
	}
	return c.table([]string{"NODE", "LOCATION", "IN USE", "LOGGED IN"}, cells)
}

type nodeIdentity struct{}

// Run reads the configuration of a local node, which need not run.
func (nodeIdentity) Run(c *cli) error {
	if c.API != "" {
		return errors.New("the key of a node is in its configuration: name a local node with --node instead of --api")
	}
	f, err := readNodes()
	if err != nil {
		return err
	}
	name := c.Node
	if name == "" {
		name = f.Active
	}
	if name == "" {
		return errors.New("no node is named: add --node NAME, or choose one with meroctl node use")
	}
	home, err := c.home()
	if err != nil {
		return err
	}
	if e := f.Nodes[name]; e != nil {
		if home = e.Path; home == "" {
			return fmt.Errorf("node %s is known by its URL alone: its key is in its configuration, ask there", name)
		}
	}
	path := filepath.Join(home, name, config.FileName)
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("there is no node %q in %s: %w", name, home, err)
	}
	cfg, diags := config.Load(path, config.WithHome(home), config.WithNode(name))
	if diags.HasErrors() {
		return errors.New(diags.String())
	}
	if cfg.Node.Identity == nil || !cfg.Node.Identity.GroupGiven {
		return fmt.Errorf("node %s has no group identity; merod init makes one", name)
	}
	return c.say("ed25519:%s", cfg.Node.Identity.Group.Public())
}
