// Package base is what every plugin answers, whatever its kind.
package base

import (
	"context"
	"slices"

	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/diag"
)

// Plugin is the life of a plugin: Info and Schema at any time, Configure once, then the methods of its kind, Health at
// any time, Close last. It is implemented by plugin authors and by the host's client. All methods may be called
// concurrently once Configure has returned; errors carry a kind of package errkind.
type Plugin interface {
	// Info says who the plugin is without touching its data.
	Info(ctx context.Context) (Info, error)
	// Schema describes the config block.
	Schema(ctx context.Context) (Schema, error)
	// Configure opens the plugin's resources. What is wrong with the configuration is a diagnostic with a path; an
	// error means that the plugin itself failed. After an error diagnostic the host closes the plugin.
	Configure(ctx context.Context, c Config) (diag.Diagnostics, error)
	// Health returns nil when the plugin can serve. It is cheap.
	Health(ctx context.Context) error
	// Close flushes and releases everything; it waits for calls in flight as long as ctx allows. Nothing important may
	// happen after it returned: the process is killed then.
	Close(ctx context.Context) error
}

// Info identifies a plugin build.
type Info struct {
	// Kind is storage, runtime, auth or hostfn. Name is lower-case letters, digits and dashes.
	Kind, Name string
	// Version of the plugin, free form.
	Version string
	// Protocol is the version of the kind's protocol that this process speaks.
	Protocol uint32
	// Capabilities are the optional features of the kind, in no order.
	Capabilities []string
}

// Has tells whether a capability is announced.
func (i Info) Has(capability string) bool {
	return slices.Contains(i.Capabilities, capability)
}

// Schema describes a config block. Names are unique over attributes and blocks.
type Schema struct {
	Attributes []Attribute
	Blocks     []Block
}

// Attribute is one `name = value`.
type Attribute struct {
	Name string
	Type cty.Type
	// Required: absence is an error. Otherwise Default is used; the zero cty.Value stands for null.
	Required bool
	Default  cty.Value
	// Doc is one sentence: meaning, unit, bounds.
	Doc string
	// Sensitive values are never printed.
	Sensitive bool
}

// Block is a nested block without labels.
type Block struct {
	Name   string
	Schema Schema
	// Repeated blocks may stand any number of times and decode to a list; others at most once, to an object or null.
	Repeated bool
	Doc      string
}

// ObjectType is the type of a decoded block: one attribute per Attribute, an object or null per Block, a list per
// repeated one.
func (s Schema) ObjectType() cty.Type {
	m := make(map[string]cty.Type, len(s.Attributes)+len(s.Blocks))
	for _, a := range s.Attributes {
		m[a.Name] = a.Type
	}
	for _, b := range s.Blocks {
		t := b.Schema.ObjectType()
		if b.Repeated {
			t = cty.List(t)
		}
		m[b.Name] = t
	}
	return cty.Object(m)
}

// Config is what Configure gets.
type Config struct {
	// Value has the type Schema.ObjectType; defaults are filled in.
	Value cty.Value
	// DataDir is an absolute path to a folder of the plugin's own; it exists with mode 0700.
	DataDir string
	// Node is the node's name, for logs.
	Node string
}
