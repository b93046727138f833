package storage

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/handshake"
	storagev1 "github.com/calimero-go/core/plugin-sdk/proto/storage/v1"
)

const (
	// maxApplies bounds the batches on their way from one client; more wait.
	maxApplies = 256
	// maxIdle bounds the streams that stay open without a batch.
	maxIdle = 16
)

// applier sends batches, each on a stream that is its own until the answer: the goroutine that calls writes the batch and
// reads the answer itself, and a batch that is slow or given up is in nobody's way. Streams are kept, because opening one
// costs about as much as the rest of the call.
type applier struct {
	link   base.Link
	rpc    storagev1.StorageServiceClient
	places chan struct{} // one for each batch on its way

	mu     sync.Mutex
	idle   []*applyStream // the one used last at the end
	closed bool
}

func newApplier(l base.Link, rpc storagev1.StorageServiceClient) *applier {
	return &applier{link: l, rpc: rpc, places: make(chan struct{}, maxApplies)}
}

func (a *applier) apply(ctx context.Context, b Batch) (replayed bool, err error) {
	select {
	case a.places <- struct{}{}:
		defer func() { <-a.places }()
	case <-ctx.Done():
		return false, a.link.Err(ctx, ctx.Err())
	}
	for {
		if err := ctx.Err(); err != nil {
			return false, a.link.Err(ctx, err)
		}
		s := a.take()
		stop := context.AfterFunc(ctx, s.cancel)
		replayed, err = s.exchange(a, b)
		lives := stop() && err == nil
		a.keep(s, lives)
		if !errors.Is(err, errStale) {
			return replayed, a.link.Err(ctx, err)
		}
	}
}

// take returns an idle stream or one that is not open yet.
func (a *applier) take() *applyStream {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last := len(a.idle) - 1; last >= 0 {
		s := a.idle[last]
		a.idle[last], a.idle = nil, a.idle[:last]
		return s
	}
	s := &applyStream{}
	// Streams outlive the calls that open them.
	s.life, s.cancel = a.link.Join(context.Background())
	return s
}

// keep takes a stream back, if it is of use; else it ends.
func (a *applier) keep(s *applyStream, lives bool) {
	a.mu.Lock()
	lives = lives && !a.closed && len(a.idle) < maxIdle
	if lives {
		a.idle = append(a.idle, s)
	}
	a.mu.Unlock()
	if !lives {
		s.cancel()
	}
}

// close ends the idle streams; from now on each ends with its batch.
func (a *applier) close() {
	a.mu.Lock()
	idle := a.idle
	a.idle, a.closed = nil, true
	a.mu.Unlock()
	for _, s := range idle {
		s.cancel()
	}
}

// applyStream carries one batch at a time.
type applyStream struct {
	life   context.Context
	cancel context.CancelFunc
	rpc    storagev1.StorageService_ApplyClient // nil until the first batch
}

// errStale says that the stream had ended while it was idle, as with a lost connection; the plugin has seen nothing of the
// batch.
var errStale = errors.New("the stream had ended")

// exchange sends a batch and waits for the answer. After an error the stream is of no more use.
func (s *applyStream) exchange(a *applier, b Batch) (replayed bool, err error) {
	fresh := s.rpc == nil
	if fresh {
		if s.rpc, err = a.rpc.Apply(s.life); err != nil {
			return false, err
		}
	}
	for first, ops := true, b.Ops; first || len(ops) > 0; first = false {
		r := &storagev1.ApplyRequest{BatchId: b.ID[:]}
		r.Ops, ops = part(ops)
		r.More = len(ops) > 0
		if err := s.rpc.Send(r); errors.Is(err, io.EOF) {
			if first && !fresh {
				return false, errStale
			}
			break // Recv has the reason
		} else if err != nil {
			return false, err
		}
	}
	r, err := s.rpc.Recv()
	if errors.Is(err, io.EOF) {
		return false, errkind.ToStatus(errkind.Internal.Errorf("%s ended a stream without an answer to a batch", a.link.Name))
	}
	return r.GetReplayed(), err
}

// part takes as many operations as fit under the soft message size, at least one if there is one.
func part(ops []Op) ([]*storagev1.Op, []Op) {
	size, n := 0, 0
	for n < len(ops) {
		size += opSize(ops[n])
		if n > 0 && size > handshake.SoftMessage {
			break
		}
		n++
	}
	ps := make([]*storagev1.Op, n)
	for i, op := range ops[:n] {
		ps[i] = opToProto(op)
	}
	return ps, ops[n:]
}
