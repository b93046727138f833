package leveldb_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/calimero-go/core/plugin-sdk/sdktest"
	"github.com/calimero-go/core/plugin-sdk/serve"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
	"github.com/calimero-go/core/storage-leveldb/leveldb"
)

func TestMain(m *testing.M) {
	sdktest.Main(m, map[string]func(){
		"leveldb": func() { serve.Storage(leveldb.New) },
		"writer":  writer,
	}, goleak.IgnoreTopFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain")) // ends a second after Close
}

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, h := range sdktest.Heights(storage.Wire, leveldb.New, sdktest.Reexec("leveldb")) {
		t.Run(h.Name, func(t *testing.T) {
			f := storagetest.Persistent(h.New)
			switch h.Name {
			case sdktest.HeightInProcess:
				f.Leased = func(tb testing.TB, lease time.Duration) storage.Plugin {
					p := leveldb.NewWith(leveldb.WithSnapshotLease(lease))
					storagetest.Configure(tb, p, tb.TempDir(), nil)
					return p
				}
			case sdktest.HeightChild:
				f = killable()
			}
			storagetest.Run(t, f)
		})
	}
}

// killable makes plugins in processes that the kit can kill.
func killable() storagetest.Factory {
	type running struct {
		*sdktest.Process[storage.Plugin]
		dir string
	}
	var processes sync.Map
	start := func(tb testing.TB, dir string) storage.Plugin {
		p := sdktest.Start(tb, storage.Wire, sdktest.Reexec("leveldb"))
		storagetest.Configure(tb, p.Plugin, dir, nil)
		processes.Store(p.Plugin, running{p, dir})
		return p.Plugin
	}
	find := func(tb testing.TB, p storage.Plugin) running {
		r, ok := processes.Load(p)
		require.True(tb, ok)
		return r.(running)
	}
	return storagetest.Factory{
		New: func(tb testing.TB) storage.Plugin { return start(tb, tb.TempDir()) },
		Reopen: func(tb testing.TB, p storage.Plugin) storage.Plugin {
			require.NoError(tb, p.Close(context.Background()))
			return start(tb, find(tb, p).dir)
		},
		Crash: func(tb testing.TB, p storage.Plugin) storage.Plugin {
			r := find(tb, p)
			r.Kill()
			return start(tb, r.dir)
		},
	}
}
