package sync

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// GroupsChanged says that members of some group, or what they may do, changed: new sender keys take the place of those that
// somebody has for whom a context is no more (docs/design/sync.md). It does not wait.
func (m *Manager) GroupsChanged() { m.generation.Add(1) }

// regroup does what follows from a change of groups, once after each: whoever refused may not do so now, and sender keys may
// have to be made anew. The caller holds the lock.
func (f *follow) regroup() {
	if f.checked.Load() == f.m.generation.Load() || f.renewing {
		return
	}
	if f.now.Failures > 0 {
		clear(f.failed)
		f.due = time.Time{}
	}
	f.renewing = f.m.tasks.Go(func(ctx context.Context) {
		f.keys.Lock()
		err := f.renew(ctx)
		f.keys.Unlock()
		f.mu.Lock()
		f.renewing = false
		f.mu.Unlock()
		if err != nil && ctx.Err() == nil {
			f.log.Warn("sender keys are not looked after; it is tried again", "err", err)
		}
	})
}

// renew makes new sender keys when somebody has the present ones whom the context is not for any more. The caller holds
// keys.
func (f *follow) renew(ctx context.Context) error {
	generation := f.m.generation.Load()
	if f.checked.Load() == generation {
		return nil
	}
	holders, err := f.m.opts.Identity.Holders(ctx, f.id)
	if err != nil {
		return err
	}
	for _, who := range holders {
		err := f.m.isMember(ctx, f.id, who)
		if errkind.Of(err) == errkind.PermissionDenied {
			f.log.Info("new sender keys: the context is no more for one who had them", "identity", who)
			err = f.replaceKeys(ctx)
			if err == nil {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	f.checked.Store(generation)
	return nil
}

// replaceKeys makes new sender keys for the identities of this node. Members ask for them when they meet the first message
// that they cannot open; nodes of the reference do not, and are told.
func (f *follow) replaceKeys(ctx context.Context) error {
	own, err := f.m.opts.Identity.List(ctx, f.id, true)
	if err != nil {
		return err
	}
	b := f.m.opts.DB.Batch()
	defer b.Abandon()
	var renewed []domain.PublicKey
	for _, self := range own {
		private, _, ok, err := f.m.opts.Identity.Own(ctx, f.id, self)
		if err != nil {
			return err
		}
		if !ok || f.m.isMember(ctx, f.id, self) != nil {
			continue
		}
		if err := f.m.opts.Identity.PutOwn(b, f.id, private); err != nil {
			return err
		}
		renewed = append(renewed, self)
	}
	f.m.opts.Identity.PutHolders(b, f.id, nil)
	if err := b.Commit(ctx); err != nil {
		return fmt.Errorf("make new sender keys: %w", err)
	}
	f.m.metrics.renewed.Add(float64(len(renewed)))
	f.m.tasks.Go(func(ctx context.Context) { f.tellKeys(ctx, renewed) })
	return f.forgetRemoved(ctx, renewed)
}

// forgetRemoved takes back the rows of identities that were removed while they got new keys.
func (f *follow) forgetRemoved(ctx context.Context, renewed []domain.PublicKey) error {
	b := f.m.opts.DB.Batch()
	defer b.Abandon()
	for _, self := range renewed {
		err := f.m.isMember(ctx, f.id, self)
		if errkind.Of(err) == errkind.PermissionDenied {
			f.m.opts.Identity.Remove(b, f.id, self)
		} else if err != nil {
			return err
		}
	}
	if b.Len() == 0 {
		return nil
	}
	return b.Commit(ctx)
}

// tellKeys exchanges the keys of identities of this node with the peers of the reference.
func (f *follow) tellKeys(ctx context.Context, renewed []domain.PublicKey) {
	peers, err := f.m.opts.Network.TopicPeers(ctx, f.topic)
	if err != nil {
		f.log.Debug("nobody is told of new sender keys", "err", err)
	}
	for _, p := range peers {
		if !f.m.peers.isPlain(p) {
			continue
		}
		for _, self := range renewed {
			err := func() error {
				r, err := f.openReference(ctx, p, self)
				if err != nil {
					return err
				}
				defer r.close()
				_, err = r.shareKeys(ctx)
				return err
			}()
			if err != nil && ctx.Err() == nil {
				f.log.Debug("a peer is not told of new sender keys; the next synchronisation does", "peer", p, "identity", self, "err", err)
			}
		}
	}
}

// ownAtRandom is any identity of this node that a context is for. A key share of the reference gives the key of one, whom
// the other side cannot choose: who shares often enough has the keys of all.
func (m *Manager) ownAtRandom(ctx context.Context, id domain.ContextID) (domain.PublicKey, error) {
	list, err := m.opts.Identity.List(ctx, id, true)
	if err != nil {
		return domain.PublicKey{}, err
	}
	for _, i := range rand.Perm(len(list)) {
		err := m.isMember(ctx, id, list[i])
		if err == nil || errkind.Of(err) != errkind.PermissionDenied {
			return list[i], err
		}
	}
	return domain.PublicKey{}, errkind.Precondition.Errorf("this node has no identity that context %s is for", id)
}

// ownKeys are the keys of an identity of this node in a context.
func (m *Manager) ownKeys(ctx context.Context, id domain.ContextID, self domain.PublicKey) (private, sender domain.PrivateKey, err error) {
	f := m.follow(id)
	if f == nil {
		return private, sender, errkind.NotFound.Errorf("context %s is not followed", id)
	}
	f.keys.Lock()
	defer f.keys.Unlock()
	return f.ownKeys(ctx, self)
}

// ownKeys is the same under the lock of keys.
func (f *follow) ownKeys(ctx context.Context, self domain.PublicKey) (private, sender domain.PrivateKey, err error) {
	if err := f.renew(ctx); err != nil {
		return private, sender, err
	}
	private, sender, ok, err := f.m.opts.Identity.Own(ctx, f.id, self)
	if err == nil && !ok {
		err = errkind.Precondition.Errorf("identity %s has no keys in context %s any more", self, f.id)
	}
	return private, sender, err
}

// give is the sender key of an identity of this node, to be given to a member; it is on record that he has it.
func (m *Manager) give(ctx context.Context, id domain.ContextID, self, to domain.PublicKey) (sender domain.PrivateKey, err error) {
	f := m.follow(id)
	if f == nil {
		return sender, errkind.NotFound.Errorf("context %s is not followed", id)
	}
	f.keys.Lock()
	defer f.keys.Unlock()
	if _, sender, err = f.ownKeys(ctx, self); err != nil {
		return sender, err
	}
	holders, err := m.opts.Identity.Holders(ctx, id)
	if err != nil || slices.Contains(holders, to) {
		return sender, err
	}
	b := m.opts.DB.Batch()
	defer b.Abandon()
	m.opts.Identity.PutHolders(b, id, append(holders, to))
	return sender, b.Commit(ctx)
}
