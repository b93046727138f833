package runtime

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/calimero-go/core/plugin-sdk/base"
	"github.com/calimero-go/core/plugin-sdk/domain"
	"github.com/calimero-go/core/plugin-sdk/errkind"
	runtimev1 "github.com/calimero-go/core/plugin-sdk/proto/runtime/v1"
)

// server is the plugin's end.
type server struct {
	runtimev1.UnimplementedRuntimeServiceServer
	rt Runtime
}

// Register adds the services of a runtime plugin to s.
func Register(s grpc.ServiceRegistrar, p Plugin) *base.Server {
	runtimev1.RegisterRuntimeServiceServer(s, &server{rt: p})
	return base.Register(s, p)
}

func (s *server) Info(ctx context.Context, _ *runtimev1.InfoRequest) (*runtimev1.InfoResponse, error) {
	e, err := s.rt.Engine(ctx)
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	return &runtimev1.InfoResponse{Engine: e.Name, EngineVersion: e.Version, MaxLanes: uint32(max(e.MaxLanes, 0)),
		Capabilities: e.Capabilities}, nil
}

func (s *server) Inspect(ctx context.Context, r *runtimev1.InspectRequest) (*runtimev1.InspectResponse, error) {
	id, err := id32("module id", r.GetModuleId())
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	m, err := s.rt.Inspect(ctx, id)
	if err != nil {
		return nil, errkind.ToStatus(err)
	}
	return &runtimev1.InspectResponse{Module: moduleToProto(&m)}, nil
}

func (s *server) Prepare(stream runtimev1.RuntimeService_PrepareServer) error {
	first, err := stream.Recv()
	if err != nil {
		return errkind.ToStatus(err)
	}
	header := first.GetHeader()
	if header == nil {
		return errkind.ToStatus(errkind.Invalid.Errorf("prepare: the first message has no header"))
	}
	id, err := id32("module id", header.GetModuleId())
	if err != nil {
		return errkind.ToStatus(err)
	}
	if size, limit := header.GetSize(), header.GetMaxModuleSize(); size > limit {
		return prepareStatus(moduleTooLarge(size, limit))
	}
	wasm := &wasmReader{stream: stream, hash: sha256.New(), module: id, limit: header.GetMaxModuleSize()}
	m, err := s.rt.Prepare(stream.Context(), id, header.GetMaxModuleSize(), wasm)
	if wasm.err != nil && !errors.Is(wasm.err, io.EOF) {
		err = wasm.err // the cause of whatever the plugin made of it
	}
	if err == nil {
		// A plugin that stopped reading at the module's end has not seen that the stream ends there too.
		_, err = io.Copy(io.Discard, wasm)
	}
	if err != nil {
		return prepareStatus(err)
	}
	return stream.SendAndClose(&runtimev1.PrepareResponse{Module: moduleToProto(&m)})
}

// prepareStatus is errkind.ToStatus with the fault beside it.
func prepareStatus(err error) error {
	out := errkind.ToStatus(err)
	var f *Fault
	if !errors.As(err, &f) {
		return out
	}
	s, ok := status.FromError(out)
	if !ok {
		return out
	}
	p := faultToProto(f)
	// Details travel in headers, which are bounded; the status has the whole text already.
	if len(p.Text) > 4096 {
		p.Text = validUTF8(p.Text[:4096])
	}
	if with, werr := s.WithDetails(p); werr == nil {
		return with.Err()
	}
	return out
}

// wasmReader reads a module from a stream of chunks, bounded, and compares its hash at the end.
type wasmReader struct {
	stream runtimev1.RuntimeService_PrepareServer
	hash   hash.Hash
	module domain.Hash
	limit  uint64
	got    uint64
	rest   []byte
	err    error
}

func (r *wasmReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.next()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *wasmReader) next() {
	m, err := r.stream.Recv()
	switch {
	case errors.Is(err, io.EOF):
		if got := domain.Hash(r.hash.Sum(nil)); got != r.module {
			err = errkind.Invalid.Errorf("prepare module %s: the bytes sent hash to %s", r.module, got)
		}
		r.err = err
		return
	case err != nil:
		r.err = err
		return
	}
	chunk, ok := m.GetPart().(*runtimev1.PrepareRequest_Chunk)
	if !ok {
		r.err = errkind.Invalid.Errorf("prepare: a message without a chunk after the header")
		return
	}
	if len(chunk.Chunk) > SpillPart {
		r.err = errkind.TooLarge.Errorf("prepare: chunk of %d bytes, the limit is %d", len(chunk.Chunk), SpillPart)
		return
	}
	if r.got += uint64(len(chunk.Chunk)); r.got > r.limit {
		r.err = moduleTooLarge(r.got, r.limit)
		return
	}
	r.hash.Write(chunk.Chunk)
	r.rest = chunk.Chunk
}

func (s *server) Forget(ctx context.Context, r *runtimev1.ForgetRequest) (*runtimev1.ForgetResponse, error) {
	var modules []domain.Hash
	for _, b := range r.GetModuleIds() {
		id, err := id32("module id", b)
		if err != nil {
			return nil, errkind.ToStatus(err)
		}
		modules = append(modules, id)
	}
	var contexts []domain.ContextID
	for _, b := range r.GetContextIds() {
		id, err := id32("context id", b)
		if err != nil {
			return nil, errkind.ToStatus(err)
		}
		contexts = append(contexts, id)
	}
	if err := s.rt.Forget(ctx, modules, contexts); err != nil {
		return nil, errkind.ToStatus(err)
	}
	return &runtimev1.ForgetResponse{}, nil
}
