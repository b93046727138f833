// Package harness runs real nodes for black-box tests: merod and its plugins as processes of their own, in a temporary
// folder, on free ports. It waits on conditions, never for a time, and at the end looks for processes and sockets that
// were left over. The programs come from the folder that the environment variable CALIMERO_BIN names; make sets it.
package harness

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Patience bounds every wait of the harness: long enough for a loaded machine, short enough to notice a hang.
const Patience = 60 * time.Second

// programs are what CALIMERO_BIN must have.
var programs = []string{
	"merod", "meroctl", "merod-plugin-storage-leveldb", "merod-plugin-runtime-wasmer", "merod-plugin-auth-local",
}

// BinDir is the folder of the built programs; empty when CALIMERO_BIN is not set, an error when one is missing there.
func BinDir() (string, error) {
	dir := os.Getenv("CALIMERO_BIN")
	if dir == "" {
		return "", nil
	}
	for _, p := range programs {
		if st, err := os.Stat(filepath.Join(dir, p)); err != nil || !st.Mode().IsRegular() {
			return "", fmt.Errorf("CALIMERO_BIN is %s, which has no %s: run make build", dir, p)
		}
	}
	return filepath.Abs(dir)
}

// Bin is the folder of the built programs. Without CALIMERO_BIN the test is skipped; a program that is missing fails it.
func Bin(tb testing.TB) string {
	tb.Helper()
	dir, err := BinDir()
	if err != nil {
		tb.Fatal(err)
	}
	if dir == "" {
		tb.Skip("CALIMERO_BIN is not set: run make e2e, or make build and set it to the folder bin")
	}
	return dir
}

// Full tells whether the tests run at full size (SCALE=full).
func Full() bool { return os.Getenv("SCALE") == "full" }

// Scale chooses a size by SCALE, which is small unless set to full.
func Scale(small, full int) int {
	if Full() {
		return full
	}
	return small
}

// Until calls ok until it is true, and says why not when ctx or Patience ends first. The pause between two calls grows
// to 20 ms.
func Until(ctx context.Context, what string, ok func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	pause := time.Millisecond
	for {
		err := ok(ctx)
		if err == nil {
			return nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("wait until %s: %w; last: %w", what, ctx.Err(), err)
		case <-timer.C:
		}
		pause = min(2*pause, 20*time.Millisecond)
	}
}
