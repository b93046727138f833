package contexts

import (
	"context"
	"errors"

	"github.com/calimero-go/core/core/blobs"
	"github.com/calimero-go/core/core/store"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	"github.com/calimero-go/core/plugin-sdk/runtime"
)

// host answers one running execution. It takes no lock: the context's is held by the execution.
type host struct {
	m       *manager
	e       *entry
	rows    rowReader
	staging *blobs.Staging
}

func newHost(m *manager, e *entry) *host { return &host{m: m, e: e} }

// Rows answers a miss.
func (h *host) Rows(ctx context.Context, keys []runtime.Key) ([]runtime.Row, error) {
	return h.m.rows(ctx, h.e, keys, &h.rows)
}

// ahead reads the rows a method read the last time, for a plugin that cannot have them.
func (h *host) ahead(ctx context.Context, keys []runtime.Key) ([]runtime.Row, error) {
	h.rows = rowReader{cold: true}
	if len(keys) == 0 {
		return nil, nil
	}
	rows, err := h.m.hot.read(ctx, h.m.opts.DB, h.e, keys)
	if err != nil {
		return nil, err
	}
	size := 0
	for i, r := range rows {
		if size += len(r.K) + len(r.Value); size > runtime.MaxReadAhead {
			return rows[:i], nil
		}
	}
	return rows, nil
}

// HostFn is refused: no host-function plugin can be configured yet, so no application has a grant.
func (h *host) HostFn(_ context.Context, namespace, function string, _ []byte) ([]byte, error) {
	return nil, errkind.Unsupported.Errorf("host function %s.%s: this node has no host-function plugins", namespace, function)
}

func (h *host) BlobSize(ctx context.Context, id domain.BlobID) (uint64, error) {
	if h.staging != nil {
		if size, ok := h.staging.Size(id); ok {
			return size, nil
		}
	}
	info, err := h.m.opts.Blobs.Info(ctx, id)
	return info.Size, err
}

// BlobRead reads from the blobs of this run and of the node; a blob that is not here has no bytes.
func (h *host) BlobRead(ctx context.Context, id domain.BlobID, offset, length uint64) ([]byte, error) {
	if h.staging != nil {
		if b, ok, err := h.staging.ReadAt(id, offset, length); ok || err != nil {
			return b, err
		}
	}
	b, err := h.m.opts.Blobs.ReadAt(ctx, id, offset, length)
	if errors.Is(err, errkind.NotFound) {
		return nil, nil
	}
	return b, err
}

// BlobAnnounce tells peers of a blob that is here.
func (h *host) BlobAnnounce(ctx context.Context, id domain.BlobID, _ domain.ContextID) error {
	size, err := h.BlobSize(ctx, id)
	if err != nil || h.m.opts.Announce == nil {
		return err
	}
	return h.m.opts.Announce(ctx, h.e.id, id, size)
}

func (h *host) BlobPart(ctx context.Context, p runtime.BlobPart) error {
	if h.staging == nil {
		s, err := h.m.opts.Blobs.Stage(ctx)
		if err != nil {
			return err
		}
		h.staging = s
	}
	return h.staging.Part(ctx, p)
}

// publish adds the staged blobs to the batch of the call.
func (h *host) publish(b *store.Batch) error {
	if h.staging == nil {
		return nil
	}
	return h.staging.Publish(b)
}

// discard drops what was staged and not published: at the end of every execution, and before it runs again.
func (h *host) discard() {
	if h.staging != nil {
		h.staging.Discard()
		h.staging = nil
	}
}
