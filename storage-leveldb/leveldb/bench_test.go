package leveldb_test

import (
	"testing"

	"github.com/zclconf/go-cty/cty"

	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/plugin-sdk/storagetest"
	"github.com/calimero-go/core/storage-leveldb/leveldb"
)

func BenchmarkLevelDB(b *testing.B) {
	for _, sync := range []string{"always", "never"} {
		b.Run("sync="+sync, func(b *testing.B) {
			storagetest.Bench(b, storagetest.PersistentWith(
				func(testing.TB) storage.Plugin { return leveldb.New() }, attrs{"sync": cty.StringVal(sync)}))
		})
	}
}
