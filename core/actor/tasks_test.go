package actor_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/actor"
)

// TestTasks: goroutines start between Begin and the end of its context only, and End waits for them.
func TestTasks(t *testing.T) {
	t.Parallel()
	var tasks actor.Tasks
	never := func(context.Context) { t.Error("a task runs when none may") }
	require.False(t, tasks.Go(never))

	ctx, cancel := context.WithCancel(t.Context())
	tasks.Begin(ctx)
	ended := false
	require.True(t, tasks.Go(func(ctx context.Context) {
		<-ctx.Done()
		ended = true
	}))
	cancel()
	require.False(t, tasks.Go(never))
	tasks.End()
	require.True(t, ended)

	tasks.Begin(t.Context())
	ran := make(chan struct{})
	require.True(t, tasks.Go(func(context.Context) { close(ran) }))
	<-ran
	tasks.End()
	require.False(t, tasks.Go(never))
}
