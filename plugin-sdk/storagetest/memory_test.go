package storagetest_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func memory() storagetest.Factory {
	return storagetest.Factory{
		New:    func(testing.TB) storage.Plugin { return storagetest.NewMemory() },
		Leased: func(_ testing.TB, lease time.Duration) storage.Plugin { return storagetest.NewMemoryLease(lease) },
	}
}

func TestMemory(t *testing.T) { storagetest.Run(t, memory()) }

func BenchmarkMemory(b *testing.B) { storagetest.Bench(b, memory()) }
