//go:build !unix

package network

import "io/fs"

func ownedByUser(fs.FileInfo) bool { return true }

func networkStack() string { return "host" }
