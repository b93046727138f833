package config

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashicorp/hcl/v2"
)

// Plugin is one plugin block. Paths are absolute.
type Plugin struct {
	Kind, Name string
	// Path is the binary, Files what must lie beside it (shared libraries).
	Path  string
	Files []string
	Args  []string
	// Env is added to the small environment that plugins get; nothing else is inherited.
	Env map[string]string
	// SHA256 pins the binary in place of its line in plugins.lock; empty or 64 hex digits.
	SHA256 string
	// StartTimeout bounds each step of a start, CallWait how long a call waits for a restart, CloseTimeout the orderly
	// end (0 = 30 s for storage, 5 s for others).
	StartTimeout, CallWait, CloseTimeout time.Duration
	// MaxInFlight bounds the calls at once, MaxRestarts the restarts in a row before the host gives up.
	MaxInFlight, MaxRestarts int
	// Range is the block's header.
	Range hcl.Range

	// given are Path and Files as written, for plugins.lock.
	given map[string]string
	body  hcl.Body // of the config block, nil without one
	files map[string]*hcl.File
}

var pluginKinds = []string{"storage", "runtime", "auth"}

// Title is `plugin "kind" "name"`, for messages.
func (p *Plugin) Title() string { return fmt.Sprintf("plugin %q %q", p.Kind, p.Name) }

// Given is how a path (Path or one of Files) was written in the file.
func (p *Plugin) Given(path string) string {
	if g, ok := p.given[path]; ok {
		return g
	}
	return path
}

func (c *Config) decodePlugin(d *decoder, b *hcl.Block) {
	p := &Plugin{
		Kind: b.Labels[0], Name: b.Labels[1], Range: b.DefRange,
		StartTimeout: 30 * time.Second, CallWait: 10 * time.Second, MaxInFlight: 64, MaxRestarts: 10,
		given: map[string]string{}, files: c.files,
	}
	if err := oneOf(pluginKinds...)(p.Kind); err != nil {
		d.errorf(b.LabelRanges[0], "Unknown plugin kind", "%s.", sentence(err))
	}
	if !nameForm.MatchString(p.Name) || p.Name == NoAuth {
		d.errorf(b.LabelRanges[1], "Invalid plugin name",
			"%q: use up to 64 lower-case letters, digits and '-'; %q is reserved.", p.Name, NoAuth)
	}
	at := join("plugin", p.Kind+"."+p.Name)
	var binary string
	var files []string
	required := text("path", &binary, path)
	required.required = true
	d.body(at, b.Body, []field{
		required,
		texts("files", &files, path),
		texts("args", &p.Args, noZero),
		textMap("env", &p.Env, envName),
		text("sha256", &p.SHA256, sha256Hex),
		duration("start_timeout", &p.StartTimeout, 100*time.Millisecond, 10*time.Minute),
		duration("call_wait", &p.CallWait, 0, 10*time.Minute),
		duration("close_timeout", &p.CloseTimeout, 0, 10*time.Minute),
		number("max_in_flight", &p.MaxInFlight, 1, 1<<16),
		number("max_restarts", &p.MaxRestarts, 1, 1<<16),
	}, []child{{name: "config", read: func(b *hcl.Block) { p.body = b.Body }}})

	p.Path = c.pluginPath(d, p, at+".path", binary)
	for _, f := range files {
		p.Files = append(p.Files, c.pluginPath(d, p, at+".files", f))
	}
	p.checkFileNames(d, at)
	for _, other := range c.Plugins {
		if other.Kind == p.Kind && other.Name == p.Name {
			d.errorf(b.DefRange, "Duplicate plugin block",
				"%s stands on line %d already. Remove or rename one of them.", p.Title(), other.Range.Start.Line)
			return
		}
	}
	c.Plugins = append(c.Plugins, p)
}

func (c *Config) pluginPath(d *decoder, p *Plugin, at, given string) string {
	if given == "" {
		return ""
	}
	absolute, err := c.resolve(given)
	if err != nil {
		d.errorf(d.ranges[at], "Invalid value for "+at, "%s.", sentence(err))
		return ""
	}
	p.given[absolute] = given
	return absolute
}

// checkFileNames refuses two files of one name: they are copied into one folder.
func (p *Plugin) checkFileNames(d *decoder, at string) {
	seen := map[string]string{filepath.Base(p.Path): p.Path}
	for _, f := range p.Files {
		if other, ok := seen[filepath.Base(f)]; ok && p.Path != "" {
			d.errorf(d.ranges[at+".files"], "Two files of one name",
				"%s and %s would overwrite each other: the files of a plugin are copied into one folder.", p.Given(other), p.Given(f))
		}
		seen[filepath.Base(f)] = f
	}
}
