//go:build !unix

package handshake

import "os"

func closeOnExec(*os.File) {}
