// The storage plugin on goleveldb. A node runs it; `merod-plugin-storage-leveldb repair FOLDER` makes a damaged
// database usable again and prints what was kept and what is lost.
package main

import (
	"fmt"
	"os"

	"github.com/calimero-go/core/plugin-sdk/serve"
	"github.com/calimero-go/core/plugin-sdk/storage"
	"github.com/calimero-go/core/storage-leveldb/leveldb"
)

var version = "dev"

func main() {
	if len(os.Args) > 1 {
		os.Exit(command(os.Args[1:]))
	}
	serve.Storage(func() storage.Plugin { return leveldb.NewWith(leveldb.WithVersion(version)) })
}

func command(args []string) int {
	if len(args) != 2 || args[0] != "repair" {
		fmt.Fprintf(os.Stderr, "usage: %s repair FOLDER\n", os.Args[0])
		return 2
	}
	report, err := leveldb.Repair(args[1])
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		return 1
	}
	fmt.Print(report)
	return 0
}
