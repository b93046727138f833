package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/calimero-go/core/core/api/schema"
	"github.com/calimero-go/core/core/config"
	"github.com/calimero-go/core/core/node"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/tests/harness"
)

// upgraded is a group whose contexts get the next release of their application while they are written to.
type upgraded struct {
	t        *testing.T
	n        *harness.Node
	kv, next string
	group    string
	contexts []*harness.Context
	writing  sync.WaitGroup
	mu       sync.Mutex
	acked    map[string][]string // keys by context
}

// data is the envelope of answers.
type data[T any] struct{ Data T }

func ask[T any](t *testing.T, c *harness.Client, method, path string, body any) T {
	t.Helper()
	var out data[T]
	require.NoError(t, c.Do(t.Context(), method, "/admin-api"+path, body, &out))
	return out.Data
}

// TestKillNode_InAnUpgrade: kill -9 while the contexts of a group get another application, one after the other: the upgrade
// goes on by itself, and nothing that was acknowledged is lost. Each time some contexts had it on disk, and some had not.
func TestKillNode_InAnUpgrade(t *testing.T) {
	t.Parallel()
	n := harness.Start(t, harness.Options{Identity: true})
	kv, err := n.Install(t.Context(), n.Client(), "kv")
	require.NoError(t, err)
	next, err := n.Install(t.Context(), n.Client(), "kvnext")
	require.NoError(t, err)
	size := harness.Scale(12, 60)
	for _, after := range []int{1, size / 3, 2 * size / 3} {
		const tries = 5
		hit := false
		for try := 0; try < tries && !hit; try++ {
			u := &upgraded{t: t, n: n, kv: kv, next: next, acked: map[string][]string{}}
			u.begin(size)
			hit = u.kill(after)
			u.completes()
			t.Logf("kill after %d of %d contexts, try %d: in the middle: %t", after, size, try, hit)
		}
		require.Truef(t, hit, "%d upgrades were over before they could be cut off after %d of %d contexts", tries, after, size)
	}
}

// begin makes the group and its contexts, with something in each.
func (u *upgraded) begin(size int) {
	c := u.n.Client()
	u.group = ask[struct{ GroupID string }](u.t, c, http.MethodPost, "/groups", obj{"applicationId": u.kv, "upgradePolicy": "Automatic"}).GroupID
	for i := range size {
		made := ask[struct{ ContextID, MemberPublicKey string }](u.t, c, http.MethodPost, "/contexts",
			obj{"applicationId": u.kv, "groupId": u.group, "initializationParams": []int{}})
		x := &harness.Context{Client: c, ID: made.ContextID, Member: made.MemberPublicKey, Application: u.kv}
		u.contexts = append(u.contexts, x)
		u.write(u.t.Context(), x, fmt.Sprint("before ", i))
	}
}

// write sets a key to itself, and remembers it if that was acknowledged.
func (u *upgraded) write(ctx context.Context, x *harness.Context, key string) bool {
	if _, err := x.Call(ctx, "set", obj{"key": key, "value": key}); err != nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.acked[x.ID] = append(u.acked[x.ID], key)
	return true
}

// writers write to the contexts until the node is gone or stop is closed.
func (u *upgraded) writers(stop <-chan struct{}) {
	const writers = 2
	for w := range writers {
		u.writing.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if !u.write(u.t.Context(), u.contexts[(i*writers+w)%len(u.contexts)], fmt.Sprintf("during %d %d", w, i)) {
					return
				}
			}
		})
	}
}

func (u *upgraded) status(c *harness.Client) schema.GroupUpgrade {
	return ask[schema.GroupUpgrade](u.t, c, http.MethodGet, "/groups/"+u.group+"/upgrade/status", nil)
}

// kill begins the upgrade and kills the node when so many contexts are done. It tells whether that was in the middle, by
// what is on disk.
func (u *upgraded) kill(after int) bool {
	c := u.n.Client()
	stop := make(chan struct{})
	u.writers(stop)
	started := ask[schema.StartedUpgrade](u.t, c, http.MethodPost, "/groups/"+u.group+"/upgrade",
		obj{"targetApplicationId": u.next, "migrateMethod": "migrate"})
	require.Equal(u.t, schema.UpgradeInProgress, started.Status)
	for {
		s := u.status(c)
		if s.Status == schema.UpgradeCompleted || int(*s.Completed) >= after {
			break
		}
	}
	require.NoError(u.t, u.n.Kill())
	close(stop)
	u.writing.Wait()
	return u.half()
}

// half reads the database of the dead node: some contexts, and not all, are upgraded, and the row says that it goes on.
func (u *upgraded) half() bool {
	until(u.t, "nothing is left over", func(context.Context) error { return harness.LeftOver(u.n.Home) })
	cfg, diags := config.Load(u.n.Config)
	require.False(u.t, diags.HasErrors(), "%v", diags)
	next, err := domain.ParseApplicationID(u.next)
	require.NoError(u.t, err)
	group, err := domain.ParseGroupID(u.group)
	require.NoError(u.t, err)
	done := 0
	completed := false
	require.NoError(u.t, node.ReadStore(u.t.Context(), cfg, io.Discard, func(ctx context.Context, db *store.DB) error {
		row, found, err := store.GroupUpgrade.Get(ctx, db, group)
		if err != nil {
			return err
		}
		require.True(u.t, found)
		completed = row.Status.Completed
		for _, x := range u.contexts {
			id, err := domain.ParseContextID(x.ID)
			if err != nil {
				return err
			}
			meta, found, err := store.ContextMeta.Get(ctx, db, id)
			if err != nil {
				return err
			}
			require.True(u.t, found)
			if meta.ApplicationID == next {
				done++
			}
		}
		return nil
	}))
	u.t.Logf("on disk %d of %d contexts are upgraded", done, len(u.contexts))
	require.Positive(u.t, done, "the canary and what the group was told are one batch")
	return !completed && done < len(u.contexts)
}

// completes starts the node, and sees the upgrade come to its end without anybody's help.
func (u *upgraded) completes() {
	require.NoError(u.t, u.n.Start(u.t.Context()))
	c := u.n.Client()
	until(u.t, "the upgrade is completed", func(context.Context) error {
		if s := u.status(c); s.Status != schema.UpgradeCompleted {
			return fmt.Errorf("%s: %d of %d, %d failed", s.Status, *s.Completed, *s.Total, *s.Failed)
		}
		return nil
	})
	require.NotNil(u.t, u.status(c).CompletedAt)
	for _, x := range u.contexts {
		x = x.With(c)
		info, err := x.Info(u.t.Context())
		require.NoError(u.t, err)
		require.Equal(u.t, u.next, info.ApplicationID)
		require.Equal(u.t, "migrated", call[string](u.t, x, "label", nil))
		entries := call[map[string]string](u.t, x, "entries", nil)
		for _, key := range u.acked[x.ID] {
			require.Equal(u.t, key, entries[key], "an acknowledged write to context %s", x.ID)
		}
	}
	require.True(u.t, u.write(u.t.Context(), u.contexts[0].With(c), "after"))
}
