package upgrades

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/calimero-go/core/core/contexts"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// propagate upgrades all contexts of a group in the background and notes how far it is. The caller entered the group; it
// is left at the end. False outside of Serve: then it is done at the next start.
func (s *Service) propagate(id domain.GroupID, row wire.GroupUpgrade) bool {
	return s.tasks.Go(func(ctx context.Context) {
		defer s.leave(id)
		if err := s.run(ctx, id, row); err != nil && ctx.Err() == nil {
			s.opts.Logger.Error("an upgrade of a group stopped; it goes on at the next start", "group", id, "err", err)
		}
	})
}

func (s *Service) run(ctx context.Context, id domain.GroupID, row wire.GroupUpgrade) error {
	left, err := s.here(ctx, id)
	if err != nil {
		return err
	}
	// Another admin may have told the group of a later upgrade since: its application goes with its migration.
	state, err := s.opts.Groups.State(ctx, id)
	if err != nil {
		return err
	}
	row.Status = wire.GroupUpgradeStatus{Total: uint32(len(left))} //nolint:gosec // contexts
	for round := 0; ; round++ {
		var failed []domain.ContextID
		for _, c := range left {
			if err := s.one(ctx, c, state.Target, text(state.Migration)); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				s.opts.Logger.Warn("a context of a group is not upgraded", "group", id, "context", c, "round", round, "err", err)
				failed = append(failed, c)
			} else {
				row.Status.Finished++
			}
			if err := s.note(ctx, id, row); err != nil {
				return err
			}
		}
		if left = failed; len(left) == 0 || round == len(s.opts.Retries) {
			break
		}
		if !wait(ctx, s.opts.Retries[round]) {
			return ctx.Err()
		}
	}
	row.Status.Failed = uint32(len(left)) //nolint:gosec // contexts
	if len(left) == 0 {
		row.Status = s.completed()
	}
	return s.note(ctx, id, row)
}

// one upgrades a context, or leaves one that is upgraded as it is.
func (s *Service) one(ctx context.Context, c domain.ContextID, target domain.ApplicationID, migrate *string) error {
	return s.opts.Contexts.Upgrade(ctx, contexts.UpgradeRequest{Context: c, Application: target, Migrate: migrate})
}

func text(method []byte) *string {
	if method == nil {
		return nil
	}
	s := string(method)
	return &s
}

func (s *Service) note(ctx context.Context, id domain.GroupID, row wire.GroupUpgrade) error {
	b := s.opts.DB.Batch()
	defer b.Abandon()
	store.GroupUpgrade.Put(b, id, row)
	return b.Commit(context.WithoutCancel(ctx))
}

// wait is false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// followAll follows the groups that changed, and those that could not be followed.
func (s *Service) followAll(ctx context.Context) {
	s.mu.Lock()
	var ids []domain.GroupID
	for id := range s.behind {
		if !s.busy[id] {
			ids = append(ids, id)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(ids, domain.GroupID.Compare)
	for _, id := range ids {
		s.mu.Lock()
		since := s.behind[id]
		delete(s.behind, id) // a change from now on is looked at again
		s.mu.Unlock()
		if now := s.opts.Now(); now.Before(since) { // it failed a short while ago
			s.look(id, since)
			continue
		}
		again, err := s.follow(ctx, id, since)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.opts.Logger.Warn("the upgrade of a group is not followed; it is tried again", "group", id, "err", err)
			s.look(id, s.opts.Now().Add(s.opts.Look))
		case again:
			s.look(id, since)
		}
	}
}

// look has a group looked at again. A change meanwhile goes first.
func (s *Service) look(id domain.GroupID, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, changed := s.behind[id]; !changed {
		s.behind[id] = since
	}
}

// follow gives the contexts of a group the application that it has. again: somebody else's migration is waited for.
func (s *Service) follow(ctx context.Context, id domain.GroupID, since time.Time) (again bool, err error) {
	meta, found, err := store.GroupMeta.Get(ctx, s.opts.DB, id)
	if err != nil || !found {
		return false, err
	}
	ids, err := s.here(ctx, id)
	if err != nil {
		return false, err
	}
	for _, c := range ids {
		waits, failed := s.followOne(ctx, store.GroupContextKey{Group: id, Context: c}, meta, since)
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if failed != nil { // the others do not wait for it
			err = errors.Join(err, errkind.Of(failed).Errorf("context %s: %w", c, failed))
		}
		again = again || waits
	}
	return again, err
}

func (s *Service) followOne(ctx context.Context, at store.GroupContextKey, meta wire.GroupMeta, since time.Time) (again bool, err error) {
	info, err := s.opts.Contexts.Get(ctx, at.Context)
	if err != nil || info.Application == meta.TargetApplicationID {
		return false, err
	}
	if s.opts.Provide != nil {
		if err := s.opts.Provide(ctx, at.Context, meta.TargetApplicationID, domain.BlobID(meta.AppKey)); err != nil {
			return false, err
		}
	}
	if meta.UpgradePolicy.Mode == domain.UpgradeLazyOnAccess {
		return false, nil // the next call does it
	}
	migrate := text(meta.Migration)
	if migrate != nil && s.opts.Now().Sub(since) < s.opts.Grace {
		last, _, err := store.GroupContextLastMigration.Get(ctx, s.opts.DB, at)
		if err != nil || last != contexts.MarkOf(meta.TargetApplicationID, *migrate) {
			return err == nil, err
		}
	}
	return false, s.one(ctx, at.Context, meta.TargetApplicationID, migrate)
}
