package runtime

import (
	"context"
	"encoding/binary"

	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	runtimev1 "github.com/calimero-go/core/plugin-sdk/proto/runtime/v1"
)

// BlobSize asks for a blob's size.
func (x *serverExec) BlobSize(ctx context.Context, blob domain.BlobID) (uint64, error) {
	data, err := x.call(ctx, &runtimev1.Call{Call: &runtimev1.Call_Open{Open: &runtimev1.BlobOpen{BlobId: blob[:]}}})
	if err != nil {
		return 0, err
	}
	if len(data) != 8 {
		return 0, errkind.Internal.Errorf("size of blob %s: the host answered %d bytes instead of 8", blob, len(data))
	}
	return binary.LittleEndian.Uint64(data), nil
}

// BlobRead asks for a part of a blob.
func (x *serverExec) BlobRead(ctx context.Context, blob domain.BlobID, offset, length uint64) ([]byte, error) {
	if length > maxBlobRead {
		return nil, errkind.TooLarge.Errorf("read of %d bytes of a blob, the limit is %d", length, maxBlobRead)
	}
	data, err := x.call(ctx, &runtimev1.Call{Call: &runtimev1.Call_Read{
		Read: &runtimev1.BlobRead{BlobId: blob[:], Offset: offset, Length: length}}})
	if err == nil && uint64(len(data)) > length {
		return nil, errkind.Internal.Errorf("read of %d bytes of blob %s: the host answered %d", length, blob, len(data))
	}
	return data, err
}

// BlobAnnounce asks for an announcement.
func (x *serverExec) BlobAnnounce(ctx context.Context, blob domain.BlobID, to domain.ContextID) error {
	_, err := x.call(ctx, &runtimev1.Call{Call: &runtimev1.Call_Announce{
		Announce: &runtimev1.BlobAnnounce{BlobId: blob[:], ContextId: to[:]}}})
	return err
}

// BlobPart sends a part without waiting for anything: a part the host refuses stops the execution.
func (x *serverExec) BlobPart(ctx context.Context, part BlobPart) error {
	if len(part.Data) > SpillPart {
		return errkind.TooLarge.Errorf("part of %d bytes of a blob, the limit is %d", len(part.Data), SpillPart)
	}
	if err := x.begin(ctx); err != nil {
		return err
	}
	defer x.calls.Unlock()
	p := &runtimev1.BlobPart{Fd: part.FD, Data: part.Data, Last: part.Last}
	if part.Last {
		p.BlobId, p.Size = part.ID[:], part.Size
	}
	return x.write(&runtimev1.GuestFrame{Exec: x.id, Frame: &runtimev1.GuestFrame_Blob{Blob: p}})
}
