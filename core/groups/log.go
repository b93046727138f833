package groups

import (
	"context"
	"slices"

	"github.com/calimero-go/core/core/governance"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/core/wire"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
)

// MaxLog is how many operations one call of Log or Waiting lists at most.
const MaxLog = 1000

// Log lists operations with their verdicts, refused ones too, in the order in which they were taken here, from a position
// on, at most limit and MaxLog. Code.Reason says a verdict in words.
func (s *Service) Log(ctx context.Context, id domain.GroupID, from, limit int) (log []governance.Entry, total int, err error) {
	err = s.with(ctx, id, func(g *group) error {
		log, total = g.engine.Log(from, min(limit, MaxLog)), g.engine.Len()
		return nil
	})
	return log, total, err
}

// Waiting lists operations that are kept and wait for others, at most limit and MaxLog, in the order of their ids. Their
// verdicts name what they wait for.
func (s *Service) Waiting(ctx context.Context, id domain.GroupID, limit int) (waiting []governance.Entry, err error) {
	limit = min(limit, MaxLog)
	err = s.with(ctx, id, func(g *group) error {
		return s.scanPending(ctx, id, func(op governance.Op, _ []byte) error {
			if len(waiting) >= limit {
				return store.Stop
			}
			by := slices.Clone(g.dag.MissingFor(op.ID))
			waiting = append(waiting, governance.Entry{Op: op, Verdict: governance.Verdict{Code: governance.Pending, By: by}})
			return nil
		})
	})
	return waiting, err
}

// scanPending reads the operations of a group that wait.
func (s *Service) scanPending(ctx context.Context, id domain.GroupID, each func(governance.Op, []byte) error) error {
	return store.Generic.Scan(ctx, s.opts.DB, pendingScope[:], func(k store.GenericKey, raw []byte) error {
		signed, err := wire.DecodeSignedGroupOp(raw)
		if err != nil {
			return errkind.Corrupt.Errorf("pending operation %x: %w", k.Fragment, err)
		}
		if signed.Group != id {
			return nil
		}
		op, err := governance.ReadOp(id, signed)
		if err != nil {
			return errkind.Corrupt.Errorf("pending operation %x: %w", k.Fragment, err)
		}
		return each(op, raw)
	})
}
