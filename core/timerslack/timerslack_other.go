//go:build !linux

package timerslack

// Adopt does nothing on this system.
func Adopt() error { return nil }

// Start runs start.
func Start(start func() error) error { return start() }
