package local_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/auth"
	"github.com/calimero-go/core/plugin-sdk/authtest"
	"github.com/calimero-go/core/plugin-sdk/sdktest"
	"github.com/calimero-go/core/plugin-sdk/serve"
	"github.com/calimero-go/core/plugins/auth-local/local"
)

const bootstrapCode = "0123456789abcdef-code"

func TestMain(m *testing.M) {
	hclog.SetDefault(hclog.NewNullLogger()) // a child has its own
	sdktest.Main(m, map[string]func(){"local": func() { serve.Auth(local.New) }})
}

// cheap is a configuration whose passwords cost as little as is allowed.
func cheap(changes map[string]cty.Value) map[string]cty.Value {
	m := map[string]cty.Value{
		"bootstrap_code":    cty.StringVal(bootstrapCode),
		"argon2_memory_kib": cty.NumberIntVal(19456),
		"argon2_iterations": cty.NumberIntVal(2),
	}
	for name, v := range changes {
		m[name] = v
	}
	return m
}

// clock is a clock that tests advance.
type clock struct {
	mu     sync.Mutex
	offset time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.offset)
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
}

// factory makes plugins of one height. In this process they have clocks that can be advanced.
func factory(h sdktest.Height[auth.Plugin]) authtest.Factory {
	var dirs, clocks sync.Map
	open := func(tb testing.TB, dir string, attributes map[string]cty.Value) auth.Plugin {
		tb.Helper()
		var p auth.Plugin
		c := &clock{}
		factory := func() auth.Plugin { return local.NewWith(local.WithClock(c.now)) }
		switch h.Name {
		case sdktest.HeightInProcess:
			p = factory()
		case sdktest.HeightGRPC:
			p = sdktest.OverGRPC(tb, auth.Wire, factory())
		default:
			p = h.New(tb)
		}
		dirs.Store(p, dir)
		clocks.Store(p, c)
		authtest.Configure(tb, p, dir, cheap(attributes))
		return p
	}
	f := authtest.Factory{
		New: func(tb testing.TB) auth.Plugin { return open(tb, tb.TempDir(), nil) },
		Reopen: func(tb testing.TB, p auth.Plugin) auth.Plugin {
			tb.Helper()
			dir, ok := dirs.Load(p)
			require.True(tb, ok, "the plugin is not of this factory")
			require.NoError(tb, p.Close(context.Background()))
			return open(tb, dir.(string), nil)
		},
		Short: func(tb testing.TB) auth.Plugin {
			return open(tb, tb.TempDir(), map[string]cty.Value{"access_token_expiry": cty.NumberIntVal(1)})
		},
		Credentials:   authtest.UserPassword,
		BootstrapCode: bootstrapCode,
		AccessLife:    time.Hour,
		RefreshLife:   30 * 24 * time.Hour,
	}
	if h.Name != sdktest.HeightChild {
		f.Advance = func(tb testing.TB, p auth.Plugin, d time.Duration) {
			tb.Helper()
			c, ok := clocks.Load(p)
			require.True(tb, ok, "the plugin is not of this factory")
			c.(*clock).advance(d)
		}
	}
	return f
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, h := range sdktest.Heights(auth.Wire, local.New, sdktest.Reexec("local")) {
		t.Run(h.Name, func(t *testing.T) { authtest.Run(t, factory(h)) })
	}
}
