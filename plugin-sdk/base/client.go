package base

import (
	"context"
	"regexp"
	"slices"

	"github.com/calimero-go/core/plugin-sdk/diag"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	basev1 "github.com/calimero-go/core/plugin-sdk/proto/base/v1"
)

var _ Plugin = (*client)(nil)

// client is the host's end of a plugin.
type client struct {
	link Link
	rpc  basev1.BaseServiceClient
}

// NewClient makes the host's end of what every plugin answers.
func NewClient(l Link) Plugin { return &client{link: l, rpc: basev1.NewBaseServiceClient(l.Conn)} }

const (
	maxInfoText     = 256
	maxCapabilities = 64
)

var pluginName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)

func (c *client) Info(ctx context.Context) (Info, error) {
	call, cancel := c.link.Join(ctx)
	defer cancel()
	r, err := c.rpc.Info(call, &basev1.InfoRequest{})
	if err != nil {
		return Info{}, c.link.Err(ctx, err)
	}
	if !pluginName.MatchString(r.GetName()) || !pluginName.MatchString(r.GetKind()) {
		return Info{}, errkind.Invalid.Errorf("%s says it is %.64q of kind %.64q: both must be lower-case letters, digits, dashes",
			c.link.Name, r.GetName(), r.GetKind())
	}
	tooLong := func(s string) bool { return len(s) > maxInfoText }
	if tooLong(r.GetVersion()) || len(r.GetCapabilities()) > maxCapabilities ||
		slices.ContainsFunc(r.GetCapabilities(), tooLong) {
		return Info{}, errkind.TooLarge.Errorf("%s: version or capabilities over the limit (texts of %d bytes, %d capabilities)",
			c.link.Name, maxInfoText, maxCapabilities)
	}
	return Info{Kind: r.GetKind(), Name: r.GetName(), Version: r.GetVersion(), Protocol: r.GetProtocol(),
		Capabilities: r.GetCapabilities()}, nil
}

func (c *client) Schema(ctx context.Context) (Schema, error) {
	call, cancel := c.link.Join(ctx)
	defer cancel()
	r, err := c.rpc.Schema(call, &basev1.SchemaRequest{})
	if err != nil {
		return Schema{}, c.link.Err(ctx, err)
	}
	return schemaFromProto(r.GetSchema())
}

func (c *client) Configure(ctx context.Context, cfg Config) (diag.Diagnostics, error) {
	schema, err := c.Schema(ctx)
	if err != nil {
		return nil, err
	}
	value, err := encodeValue(cfg.Value, schema.ObjectType())
	if err != nil {
		return nil, err
	}
	call, cancel := c.link.Join(ctx)
	defer cancel()
	r, err := c.rpc.Configure(call, &basev1.ConfigureRequest{Value: value, DataDir: cfg.DataDir, Node: cfg.Node})
	if err != nil {
		return nil, c.link.Err(ctx, err)
	}
	return diag.FromProto(r.GetDiagnostics())
}

func (c *client) Health(ctx context.Context) error {
	call, cancel := c.link.Join(ctx)
	defer cancel()
	r, err := c.rpc.Health(call, &basev1.HealthRequest{})
	if err != nil {
		return c.link.Err(ctx, err)
	}
	if !r.GetOk() {
		return errkind.Unavailable.Errorf("%s is not well: %.1024s", c.link.Name, r.GetMessage())
	}
	return nil
}

func (c *client) Close(ctx context.Context) error {
	call, cancel := c.link.Join(ctx)
	defer cancel()
	_, err := c.rpc.Close(call, &basev1.CloseRequest{})
	return c.link.Err(ctx, err)
}
