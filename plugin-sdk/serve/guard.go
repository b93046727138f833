package serve

import (
	"io"
	"os"

	"github.com/hashicorp/go-hclog"

	"github.com/calimero-go/core/plugin-sdk/handshake"
)

// watchHost returns a channel that gets a reason once the host is gone: the lifeline broke, or, as a second net, the
// parent process changed.
func watchHost(logger hclog.Logger) (<-chan string, error) {
	lost := make(chan string, 2)
	line, err := handshake.InheritedLifeline()
	if err != nil {
		return nil, err
	}
	if line == nil {
		logger.Warn("the host gave no lifeline; only the parent process is watched", "variable", handshake.EnvLifeline)
	} else {
		go func() {
			_, err := io.Copy(io.Discard, line) // the host never writes: this ends with the host
			reason := "host is gone: its lifeline broke"
			if err != nil {
				reason += ": " + err.Error()
			}
			lost <- reason
		}()
	}
	parent := os.Getppid()
	go func() {
		waitForParent(parent)
		lost <- "host is gone: the parent process changed"
	}()
	return lost, nil
}
