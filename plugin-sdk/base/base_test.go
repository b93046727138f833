package base_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/diag"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	basev1 "github.com/calimero-go/core/plugin-sdk/proto/base/v1"
	"github.com/calimero-go/core/plugin-sdk/sdktest"
)

func TestMain(m *testing.M) { sdktest.Main(m, nil) }

var wire = base.Wire[base.Plugin]{Kind: "storage", Versions: map[int]base.Version[base.Plugin]{
	1: {Register: base.Register, Client: base.NewClient}}}

// fake is a plugin of functions.
type fake struct {
	info      base.Info
	schema    base.Schema
	configure func(base.Config) (diag.Diagnostics, error)
	health    error
	close     func(ctx context.Context) error
}

func (f *fake) Info(context.Context) (base.Info, error) { return f.info, nil }
func (f *fake) Schema(context.Context) (base.Schema, error) {
	return f.schema, nil
}
func (f *fake) Configure(_ context.Context, c base.Config) (diag.Diagnostics, error) {
	return f.configure(c)
}
func (f *fake) Health(context.Context) error    { return f.health }
func (f *fake) Close(ctx context.Context) error { return f.close(ctx) }

func over(t *testing.T, f *fake) base.Plugin {
	t.Helper()
	return sdktest.OverGRPC[base.Plugin](t, wire, f)
}

func schema() base.Schema {
	return base.Schema{
		Attributes: []base.Attribute{
			{Name: "sync", Type: cty.String, Default: cty.StringVal("always"), Doc: "When to fsync."},
			{Name: "cache_mib", Type: cty.Number, Required: true},
			{Name: "secret", Type: cty.List(cty.String), Sensitive: true},
			{Name: "labels", Type: cty.Map(cty.Bool)},
			{Name: "anything", Type: cty.DynamicPseudoType},
		},
		Blocks: []base.Block{
			{Name: "listen", Repeated: true, Doc: "Where.", Schema: base.Schema{
				Attributes: []base.Attribute{{Name: "port", Type: cty.Number, Required: true}}}},
			{Name: "tls", Schema: base.Schema{Attributes: []base.Attribute{{Name: "cert", Type: cty.String}}}},
		},
	}
}

func value() cty.Value {
	s := schema()
	return cty.ObjectVal(map[string]cty.Value{
		"sync": cty.StringVal("never"), "cache_mib": cty.NumberIntVal(64),
		"secret": cty.ListVal([]cty.Value{cty.StringVal("x")}), "labels": cty.NullVal(cty.Map(cty.Bool)),
		"anything": cty.TupleVal([]cty.Value{cty.True, cty.StringVal("s")}),
		"listen":   cty.ListVal([]cty.Value{cty.ObjectVal(map[string]cty.Value{"port": cty.NumberIntVal(1)})}),
		"tls":      cty.NullVal(s.Blocks[1].Schema.ObjectType()),
	})
}

func TestInfoAndSchema_CrossTheWire(t *testing.T) {
	t.Parallel()
	f := &fake{schema: schema(), info: base.Info{Kind: "storage", Name: "level-db2", Version: "v1", Protocol: 1,
		Capabilities: []string{"snapshot"}}}
	p := over(t, f)
	info, err := p.Info(t.Context())
	require.NoError(t, err)
	require.Equal(t, f.info, info)
	require.True(t, info.Has("snapshot"))
	require.False(t, info.Has("compact"))
	got, err := p.Schema(t.Context())
	require.NoError(t, err)
	require.Equal(t, schema(), got)
	require.True(t, got.ObjectType().Equals(schema().ObjectType()))
}

func TestConfigure_HandsOverTheValue(t *testing.T) {
	t.Parallel()
	var got base.Config
	var ds diag.Diagnostics
	ds.Errorf([]diag.Step{"listen", int64(0), "port"}, "Port in use", "take another")
	f := &fake{schema: schema(), configure: func(c base.Config) (diag.Diagnostics, error) {
		got = c
		return ds, nil
	}}
	p := over(t, f)
	answer, err := p.Configure(t.Context(), base.Config{Value: value(), DataDir: "/data", Node: "n1"})
	require.NoError(t, err)
	require.Equal(t, ds, answer)
	require.True(t, got.Value.RawEquals(value()), "%#v", got.Value)
	require.Equal(t, "/data", got.DataDir)
	require.Equal(t, "n1", got.Node)
	_, err = p.Configure(t.Context(), base.Config{Value: value()})
	require.ErrorIs(t, err, errkind.Precondition)
}

func TestConfigure_RefusesValuesThatCannotTravel(t *testing.T) {
	t.Parallel()
	f := &fake{schema: base.Schema{Attributes: []base.Attribute{{Name: "a", Type: cty.String}}},
		configure: func(base.Config) (diag.Diagnostics, error) { return nil, nil }}
	p := over(t, f)
	object := func(v cty.Value) cty.Value { return cty.ObjectVal(map[string]cty.Value{"a": v}) }
	tests := map[string]struct {
		v    cty.Value
		kind errkind.Kind
	}{
		"none":       {cty.NilVal, errkind.Invalid},
		"unknown":    {object(cty.UnknownVal(cty.String)), errkind.Invalid},
		"marked":     {object(cty.StringVal("x").Mark("secret")), errkind.Invalid},
		"wrong type": {object(cty.True), errkind.Invalid},
		"not object": {cty.StringVal("x"), errkind.Invalid},
		"too large":  {object(cty.StringVal(strings.Repeat("x", base.MaxConfigBytes))), errkind.TooLarge},
	}
	for name, test := range tests {
		_, err := p.Configure(t.Context(), base.Config{Value: test.v})
		require.ErrorIs(t, err, test.kind, name)
	}
	_, err := p.Configure(t.Context(), base.Config{Value: object(cty.StringVal("fine"))})
	require.NoError(t, err)
}

func TestErrors_KeepTextAndKind(t *testing.T) {
	t.Parallel()
	p := over(t, &fake{health: errkind.Retryable(errkind.Corrupt.Errorf("journal is torn"))})
	err := p.Health(t.Context())
	require.ErrorIs(t, err, errkind.Corrupt)
	require.True(t, errkind.IsRetryable(err))
	require.EqualError(t, err, "journal is torn")
	p = over(t, &fake{schema: base.Schema{}, configure: func(base.Config) (diag.Diagnostics, error) {
		return nil, errors.New("plain")
	}})
	_, err = p.Configure(t.Context(), base.Config{Value: cty.EmptyObjectVal})
	require.Equal(t, errkind.Unknown, errkind.Of(err))
	require.EqualError(t, err, "plain")
}

func TestClose_OnceForAllCallers(t *testing.T) {
	t.Parallel()
	var closes atomic.Int64
	release := make(chan struct{})
	p := over(t, &fake{close: func(context.Context) error {
		closes.Add(1)
		<-release
		return errkind.Internal.Errorf("flush failed")
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, p.Close(ctx), errkind.Deadline)
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- p.Close(context.Background()) }()
	}
	close(release)
	for range 2 {
		require.EqualError(t, <-done, "flush failed")
	}
	require.Equal(t, int64(1), closes.Load())
}

// hostile answers what no decent plugin would.
type hostile struct {
	basev1.UnimplementedBaseServiceServer
	info   *basev1.InfoResponse
	schema *basev1.Schema
	health *basev1.HealthResponse
}

func (h *hostile) Info(context.Context, *basev1.InfoRequest) (*basev1.InfoResponse, error) {
	return h.info, nil
}

func (h *hostile) Schema(context.Context, *basev1.SchemaRequest) (*basev1.SchemaResponse, error) {
	return &basev1.SchemaResponse{Schema: h.schema}, nil
}

func (h *hostile) Health(context.Context, *basev1.HealthRequest) (*basev1.HealthResponse, error) {
	return h.health, nil
}

func overHostile(t *testing.T, h *hostile) base.Plugin {
	t.Helper()
	return sdktest.OverGRPC[base.Plugin](t, base.Wire[base.Plugin]{Kind: "storage",
		Versions: map[int]base.Version[base.Plugin]{1: {Client: base.NewClient,
			Register: func(s grpc.ServiceRegistrar, _ base.Plugin) *base.Server {
				basev1.RegisterBaseServiceServer(s, h)
				return nil
			}}}}, nil, sdktest.WithName("bad"))
}

func TestHostilePlugins(t *testing.T) {
	t.Parallel()
	attrs := func(n int) []*basev1.Attribute {
		out := make([]*basev1.Attribute, n)
		for i := range out {
			out[i] = &basev1.Attribute{Name: fmt.Sprintf("a%d", i), Type: []byte(`"string"`)}
		}
		return out
	}
	deep := func(n int) *basev1.Schema {
		s := &basev1.Schema{}
		for range n {
			s = &basev1.Schema{Blocks: []*basev1.Block{{Name: "b", Schema: s}}}
		}
		return s
	}
	schemas := map[string]struct {
		schema *basev1.Schema
		kind   errkind.Kind // Unknown = fine
	}{
		"most items":     {&basev1.Schema{Attributes: attrs(base.MaxSchemaItems)}, errkind.Unknown},
		"too many items": {&basev1.Schema{Attributes: attrs(base.MaxSchemaItems + 1)}, errkind.TooLarge},
		"deepest":        {deep(base.MaxSchemaDepth), errkind.Unknown},
		"too deep":       {deep(base.MaxSchemaDepth + 1), errkind.TooLarge},
		"none":           {nil, errkind.Unknown},
		"bad name":       {&basev1.Schema{Attributes: []*basev1.Attribute{{Name: "a b", Type: []byte(`"string"`)}}}, errkind.Invalid},
		"twice":          {&basev1.Schema{Attributes: append(attrs(1), attrs(1)...)}, errkind.Invalid},
		"bad type":       {&basev1.Schema{Attributes: []*basev1.Attribute{{Name: "a", Type: []byte(`"strung"`)}}}, errkind.Invalid},
		"bad default": {&basev1.Schema{Attributes: []*basev1.Attribute{{Name: "a", Type: []byte(`"number"`),
			DefaultValue: []byte(`{}`)}}}, errkind.Invalid},
	}
	for name, test := range schemas {
		_, err := overHostile(t, &hostile{schema: test.schema}).Schema(t.Context())
		if test.kind == errkind.Unknown {
			require.NoError(t, err, name)
		} else {
			require.ErrorIs(t, err, test.kind, name)
		}
	}
	infos := map[string]*basev1.InfoResponse{
		"no name":           {Kind: "storage"},
		"bad name":          {Kind: "storage", Name: "../x"},
		"long version":      {Kind: "storage", Name: "x", Version: strings.Repeat("v", 257)},
		"many capabilities": {Kind: "storage", Name: "x", Capabilities: make([]string, 65)},
	}
	for name, info := range infos {
		_, err := overHostile(t, &hostile{info: info}).Info(t.Context())
		require.Error(t, err, name)
		require.ErrorContains(t, err, `storage plugin "bad"`)
	}
	err := overHostile(t, &hostile{health: &basev1.HealthResponse{Message: "disk full"}}).Health(t.Context())
	require.ErrorIs(t, err, errkind.Unavailable)
	require.ErrorContains(t, err, "disk full")
	err = overHostile(t, &hostile{}).Close(t.Context())
	require.ErrorIs(t, err, errkind.Unsupported, "a method that a plugin does not have")
}

func TestLink_Err(t *testing.T) {
	t.Parallel()
	gone, die := context.WithCancel(context.Background())
	ended, cancel := context.WithCancelCause(context.Background())
	cancel(errors.New("the user left"))
	alive := base.Link{Name: "p", Gone: context.Background()}
	dead := base.Link{Name: "p", Gone: gone}
	die()
	ctx := context.Background()
	over := overdue{ctx}
	plugins := func(k errkind.Kind) error { return errkind.ToStatus(k.Errorf("x")) }
	tests := map[string]struct {
		link  base.Link
		ctx   context.Context
		err   error
		kind  errkind.Kind
		retry bool
		text  string
	}{
		"plugin's own":          {alive, ctx, plugins(errkind.NotFound), errkind.NotFound, false, "x"},
		"plugin's own, ended":   {alive, ended, plugins(errkind.NotFound), errkind.NotFound, false, "x"},
		"caller gave up":        {alive, ended, status.Error(codes.Canceled, "c"), errkind.Canceled, false, "the user left"},
		"caller gave up, plain": {alive, ended, context.Canceled, errkind.Canceled, false, "the user left"},
		"plugin's deadline":     {alive, ctx, plugins(errkind.Deadline), errkind.Deadline, false, "x"},
		"overdue, aborted":      {alive, over, status.Error(codes.Canceled, "RST_STREAM"), errkind.Deadline, false, "call p"},
		"overdue, timer there":  {alive, over, status.Error(codes.DeadlineExceeded, "RST_STREAM"), errkind.Deadline, false, "call p"},
		"overdue, plugin's":     {alive, over, plugins(errkind.Deadline), errkind.Deadline, false, "x"},
		"overdue, another":      {alive, over, plugins(errkind.NotFound), errkind.NotFound, false, "x"},
		"overdue, lost":         {alive, over, status.Error(codes.Unavailable, "EOF"), errkind.Unavailable, true, "p does not answer: EOF"},
		"connection lost":       {alive, ctx, status.Error(codes.Unavailable, "EOF"), errkind.Unavailable, true, "p does not answer: EOF"},
		"connection closed":     {alive, ctx, status.Error(codes.Canceled, "closing"), errkind.Unavailable, true, "p does not answer: closing"},
		"process died":          {dead, ctx, status.Error(codes.Canceled, "c"), errkind.Unavailable, true, "p stopped: c"},
		"no such method":        {alive, ctx, status.Error(codes.Unimplemented, "m"), errkind.Unsupported, false, "call p"},
	}
	for name, test := range tests {
		err := test.link.Err(test.ctx, test.err)
		require.Equal(t, test.kind, errkind.Of(err), name)
		require.ErrorIs(t, err, test.kind, name)
		require.Equal(t, test.retry, errkind.IsRetryable(err), name)
		require.ErrorContains(t, err, test.text, name)
		own := test.ctx == over && test.kind == errkind.Deadline
		require.Equal(t, own, errors.Is(err, context.DeadlineExceeded), name)
	}
	require.NoError(t, alive.Err(ctx, nil))
}

// overdue is a context whose deadline has passed and whose timer has not fired yet.
type overdue struct{ context.Context }

func (overdue) Deadline() (time.Time, bool) { return time.Now().Add(-time.Millisecond), true }

func TestLink_Join(t *testing.T) {
	t.Parallel()
	gone, die := context.WithCancel(context.Background())
	joined, cancel := base.Link{Gone: gone}.Join(context.Background())
	defer cancel()
	require.NoError(t, joined.Err())
	die()
	<-joined.Done()

	joined, cancel = base.Link{}.Join(context.Background())
	cancel()
	<-joined.Done()
	caller, stop := context.WithCancel(context.Background())
	joined, cancel = base.Link{Gone: context.Background()}.Join(caller)
	defer cancel()
	stop()
	<-joined.Done()
}
